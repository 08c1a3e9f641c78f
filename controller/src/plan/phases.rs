//! Pungi's phase names for `--just-phase` and `--skip-phase`.

use super::PlanError;

pub use tutti_distro::config::PHASES;

/// Returns the job patterns that these phases stand for. Phases without jobs of their own (`init`, `createiso` …)
/// stand for none.
///
/// # Errors
/// [`PlanError::Phase`] for an unknown name.
pub fn phase_patterns<S: AsRef<str>>(names: &[S]) -> Result<Vec<String>, PlanError> {
    let mut patterns = Vec::new();
    for name in names {
        let name = name.as_ref();
        if !PHASES.contains(&name) {
            return Err(PlanError::Phase { name: name.to_owned() });
        }
        let kinds: &[&str] = match name {
            "pkgset" => &["pkgset"],
            "gather" => &["solve", "trim", "link"],
            "createrepo" => &["createrepo", "createrepo-debug"],
            "extra_files" => &["extra-files"],
            "repoclosure" => &["repoclosure"],
            "image_checksum" => &["checksum"],
            _ => &[],
        };
        patterns.extend(kinds.iter().map(|&kind| kind.to_owned()));
    }
    patterns.sort();
    patterns.dedup();
    Ok(patterns)
}
