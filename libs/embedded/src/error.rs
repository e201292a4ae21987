use std::{io, path::PathBuf};

use fleet_graph::{CorruptRow, ReadError, Unavailable};
use rusqlite::ErrorCode;

/// The name of this store in errors.
pub(crate) const STORE: &str = "embedded";

/// Why a data directory was not opened. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("{} is in use by process {pid}{}", dir.display(), of_note(note))]
    Owned {
        /// The directory.
        dir: PathBuf,
        /// The process that has it; 0 if it has not said so yet.
        pid: u32,
        /// What the owner wrote about itself; empty if nothing.
        note: String,
    },
    /// A file does not hold what was acknowledged. Starting would lose data silently.
    #[error("{} is damaged: {problem}. {cure}", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// What to do.
        cure: String,
    },
    /// The database was written by a newer version, or by another program.
    #[error("{} cannot be used: {problem}", file.display())]
    Foreign {
        /// The file.
        file: PathBuf,
        /// What it is.
        problem: String,
    },
    /// The operating system refused.
    #[error("cannot use {}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The database engine refused for another reason than damage.
    #[error("cannot open {}", file.display())]
    Engine {
        /// The database.
        file: PathBuf,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
}

fn of_note(note: &str) -> String {
    if note.is_empty() {
        String::new()
    } else {
        format!(" ({note})")
    }
}

impl OpenError {
    pub(crate) fn damaged(file: impl Into<PathBuf>, problem: impl Into<String>) -> Self {
        Self::Damaged {
            file: file.into(),
            problem: problem.into(),
            cure: "Restore the directory from a backup; nothing was changed".to_owned(),
        }
    }

    pub(crate) fn io(path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io {
            path: path.into(),
            source,
        }
    }

    /// Tells damage from other refusals of the engine.
    pub(crate) fn engine(file: impl Into<PathBuf>, source: rusqlite::Error) -> Self {
        let file = file.into();
        if is_damage(&source) {
            Self::damaged(file, source.to_string())
        } else {
            Self::Engine { file, source }
        }
    }
}

/// Whether the engine says that the file is not what it should be.
pub(crate) fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::Error as E;
    let damaged = matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::DatabaseCorrupt
                | ErrorCode::NotADatabase
                | ErrorCode::Unknown
                | ErrorCode::SchemaChanged
        )
    );
    // A value of another type than every writer stores is damage as well.
    damaged
        || matches!(
            error,
            E::FromSqlConversionFailure(..)
                | E::IntegralValueOutOfRange(..)
                | E::Utf8Error(..)
                | E::InvalidColumnType(..)
        )
}

/// Any refusal of the engine, as the ports say it. Damage does not go away by itself.
pub(crate) fn unavailable(error: &rusqlite::Error) -> Unavailable {
    away(error.to_string(), !is_damage(error))
}

pub(crate) fn away(reason: impl Into<String>, retryable: bool) -> Unavailable {
    Unavailable {
        store: STORE,
        reason: reason.into(),
        retryable,
    }
}

/// Why a read inside the database failed.
#[derive(Debug)]
pub(crate) enum ReadFailure {
    Engine(rusqlite::Error),
    Row(CorruptRow),
    /// A row that is no node does not carry its checksum.
    Other(String),
}

impl From<rusqlite::Error> for ReadFailure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Engine(error)
    }
}

impl From<CorruptRow> for ReadFailure {
    fn from(row: CorruptRow) -> Self {
        Self::Row(row)
    }
}

impl From<ReadFailure> for ReadError {
    fn from(failure: ReadFailure) -> Self {
        match failure {
            ReadFailure::Row(row) => Self::Corrupt(row),
            other => Self::Unavailable(other.into()),
        }
    }
}

impl From<ReadFailure> for Unavailable {
    fn from(failure: ReadFailure) -> Self {
        match failure {
            ReadFailure::Engine(error) => unavailable(&error),
            ReadFailure::Row(row) => away(row.to_string(), false),
            ReadFailure::Other(problem) => away(problem, false),
        }
    }
}
