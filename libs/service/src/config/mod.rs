//! Configuration: one table of keys, from which loading, checks, flags, the schema and the
//! masked print all derive. Defaults < file < environment < flags.

mod common;
mod keys;
mod settings;

pub use common::{COMMON_KEYS, Common, JwtSettings, LogFormat, Ports, TlsFiles, service_keys};
pub use keys::{Key, Kind, Preset};
pub use settings::{Problem, Problems, Settings, Source, mask_userinfo};

/// Exit code of a process whose configuration or command line is wrong (`EX_USAGE`).
pub const EXIT_CONFIG: u8 = 64;

#[cfg(test)]
mod tests;
