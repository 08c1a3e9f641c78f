//! `tutti config check` and `tutti config dump`.

use anyhow::Result;
use tutti_controller::accept::{self, AcceptOptions, IdentityOptions};
use tutti_distro::config;

use crate::{args::ConfigCommand, progress, spec};

pub(crate) fn run(command: ConfigCommand) -> Result<u8> {
    match command {
        ConfigCommand::Check(args) => {
            let definitions = spec::definitions(&args.set)?;
            let report = config::check_with(&args.config, &definitions);
            for line in report.warnings.iter().chain(&report.unsupported) {
                errln!("warning: {line}");
            }
            for line in &report.errors {
                errln!("error: {line}");
            }
            if !report.errors.is_empty() {
                return Ok(1);
            }
            let missing = config::missing_files(&config::load_with(&args.config, &definitions)?);
            for line in &missing {
                errln!("error: {line}");
            }
            if !missing.is_empty() {
                return Ok(1);
            }
            // Variants, comps and what they name, as a compose would read them.
            let identity = IdentityOptions { no_label: true, ..IdentityOptions::default() };
            let options = AcceptOptions { definitions, identity, ..AcceptOptions::default() };
            let prepared = accept::load(&args.config, &options)?;
            let (plan, _) = tutti_controller::plan::plan(&prepared.spec)?;
            let config_warnings = report.warnings.len() + report.unsupported.len();
            for warning in prepared.warnings.iter().skip(config_warnings) {
                errln!("warning: {warning}");
            }
            outln!(
                "{}: good, {} variants, {} jobs",
                args.config.display(),
                prepared.spec.variants.len(),
                plan.jobs.len()
            )?;
            Ok(0)
        }
        ConfigCommand::Dump(args) => {
            let loaded = config::load_with(&args.config, &spec::definitions(&args.set)?)?;
            for warning in &loaded.warnings {
                errln!("warning: {warning}");
            }
            progress::print_json(&config::dump(&loaded))?;
            Ok(0)
        }
    }
}
