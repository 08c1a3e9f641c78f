//! `make-demo DIR`: writes the demo distribution.

use std::path::PathBuf;

use anyhow::{Context, Result};

fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(directory), None) = (arguments.next().map(PathBuf::from), arguments.next()) else {
        anyhow::bail!("usage: make-demo DIR");
    };
    let summary = tutti_examples::write_demo(&directory, tutti_examples::build_time())
        .with_context(|| format!("cannot write the distribution in {}", directory.display()))?;
    println!(
        "{} packages and {} source packages in {}",
        summary.binary_packages,
        summary.source_packages,
        directory.display()
    );
    Ok(())
}
