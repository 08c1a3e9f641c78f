//! Writes `proto/src/generated` from the `.proto` files; `--check` only says whether that would change anything.
//!
//! `cargo run -p tutti-proto-generator [-- --check]`. Needs `protoc` (Debian: protobuf-compiler).

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};

const FILES: [&str; 2] = ["tutti/compose/v1/compose.proto", "tutti/worker/v1/worker.proto"];

fn main() -> Result<()> {
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("proto directory")?;
    let generated = proto.join("src/generated");
    if std::env::args().any(|argument| argument == "--check") {
        return check(proto, &generated);
    }
    generate(proto, &generated)
}

fn generate(proto: &Path, out: &Path) -> Result<()> {
    let sources: Vec<_> = FILES.iter().map(|file| proto.join(file)).collect();
    tonic_prost_build::configure()
        .out_dir(out)
        .file_descriptor_set_path(out.join("descriptors.bin"))
        .compile_protos(&sources, &[proto.to_owned()])
        .context("cannot compile the .proto files; is protoc installed (Debian: protobuf-compiler)?")
}

fn check(proto: &Path, generated: &Path) -> Result<()> {
    let fresh = std::env::temp_dir().join(format!("tutti-proto-{}", std::process::id()));
    fs::create_dir_all(&fresh)?;
    let result = generate(proto, &fresh).and_then(|()| compare(&fresh, generated));
    fs::remove_dir_all(&fresh)?;
    result
}

fn compare(fresh: &Path, generated: &Path) -> Result<()> {
    for entry in fs::read_dir(fresh)? {
        let entry = entry?;
        // Descriptor bytes differ between releases of protoc; the Rust text is what must not drift.
        if entry.path().extension().is_some_and(|extension| extension == "rs") {
            let committed = generated.join(entry.file_name());
            if fs::read(entry.path())? != fs::read(&committed).unwrap_or_default() {
                bail!(
                    "{} is not what the .proto files say: run cargo run -p tutti-proto-generator",
                    committed.display()
                );
            }
        }
    }
    Ok(())
}
