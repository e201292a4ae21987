//! Turns the contracts under `proto/` into Rust, without an installed protoc.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use prost_types::FileDescriptorSet;

/// The contracts, relative to the `proto` directory.
const CONTRACTS: [&str; 3] = [
    "fleet/context/v1/context.proto",
    "fleet/planning/v2/planning.proto",
    "fleet/workflow/v1/workflow.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it for build scripts");
    let root = Path::new(&here).join("../../proto");
    println!("cargo::rerun-if-changed=build.rs");
    for contract in CONTRACTS {
        println!("cargo::rerun-if-changed={}", root.join(contract).display());
    }

    let mut compiler = protox::Compiler::new([&root])?;
    compiler.include_imports(true).include_source_info(true);
    compiler.open_files(CONTRACTS)?;

    // `compile_fds` writes no descriptor set, so it is written here. Comments stay in:
    // reflection shows them to whoever explores a server.
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(
        out.join("descriptor_set.bin"),
        compiler.encode_file_descriptor_set(),
    )?;

    fs::write(out.join("keyed.rs"), keyed(&compiler.file_descriptor_set()))?;

    tonic_prost_build::configure()
        // Ordered maps: the same message always encodes to the same bytes, which request
        // fingerprints and stored answers rely on.
        .btree_map(".")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}

/// Which messages are requests under a `request_id`: those with a field of that name.
fn keyed(contracts: &FileDescriptorSet) -> String {
    let mut code = String::new();
    for file in &contracts.file {
        let module = file.package().replace('.', "::");
        for message in &file.message_type {
            if message.field.iter().any(|f| f.name() == "request_id") {
                let module = module.trim_start_matches("fleet::");
                writeln!(code, "keyed!({module}::{});", message.name())
                    .expect("a string takes all that is written");
            }
        }
    }
    code
}
