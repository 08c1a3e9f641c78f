//! Architecture chains of yum and the rules that Pungi builds on them.
//!
//! Sources: `rpmUtils/arch.py` of yum 3.4.3 (`arches`, `multilibArches`, `getArchList`, `getBaseArch`), kept alive by
//! Pungi 4.3.2 as `pungi/arch_utils.py`, and `pungi/arch.py` of the same release (tree arch map, valid arches).

/// Architecture and the next one whose packages it can run too.
const NEXT: &[(&str, &str)] = &[
    ("athlon", "i686"),
    ("i686", "i586"),
    ("geode", "i586"),
    ("i586", "i486"),
    ("i486", "i386"),
    ("i386", "noarch"),
    ("x86_64", "athlon"),
    ("amd64", "x86_64"),
    ("ia32e", "x86_64"),
    ("ppc64le", "noarch"),
    ("ppc64p7", "ppc64"),
    ("ppc64pseries", "ppc64"),
    ("ppc64iseries", "ppc64"),
    ("ppc64", "ppc"),
    ("ppc", "noarch"),
    ("s390x", "s390"),
    ("s390", "noarch"),
    ("sparc64v", "sparcv9v"),
    ("sparc64", "sparcv9"),
    ("sparcv9v", "sparcv9"),
    ("sparcv9", "sparcv8"),
    ("sparcv8", "sparc"),
    ("sparc", "noarch"),
    ("alphaev7", "alphaev68"),
    ("alphaev68", "alphaev67"),
    ("alphaev67", "alphaev6"),
    ("alphaev6", "alphapca56"),
    ("alphapca56", "alphaev56"),
    ("alphaev56", "alphaev5"),
    ("alphaev5", "alphaev45"),
    ("alphaev45", "alphaev4"),
    ("alphaev4", "alpha"),
    ("alpha", "noarch"),
    ("armv7l", "armv6l"),
    ("armv6l", "armv5tejl"),
    ("armv5tejl", "armv5tel"),
    ("armv5tel", "noarch"),
    ("armv7hnl", "armv7hl"),
    ("armv7hl", "armv6hl"),
    ("armv6hl", "noarch"),
    ("arm64", "noarch"),
    ("aarch64", "noarch"),
    ("sh4a", "sh4"),
    ("sh4", "noarch"),
    ("sh3", "noarch"),
    ("ia64", "noarch"),
    ("riscv64", "noarch"),
    ("loongarch64", "noarch"),
];

/// Architecture with two library sets, and the best of the second set.
const MULTILIB: &[(&str, &str)] =
    &[("x86_64", "athlon"), ("sparc64v", "sparcv9v"), ("sparc64", "sparcv9"), ("ppc64", "ppc"), ("s390x", "s390")];

/// Tree architecture and the yum architecture that stands for it, where they differ.
const TREE: &[(&str, &str)] = &[("i386", "i686"), ("sparc", "sparc64v"), ("arm", "armv7l"), ("armhfp", "armv7hnl")];

fn find<'t>(table: &[(&str, &'t str)], key: &str) -> Option<&'t str> {
    table.iter().find(|(from, _)| *from == key).map(|(_, to)| *to)
}

/// Whether yum knows this architecture (`noarch`, `src` and `nosrc` are no architectures here).
pub fn is_known(arch: &str) -> bool {
    find(NEXT, arch).is_some()
}

/// Whether packages of this architecture are source packages.
pub fn is_source(arch: &str) -> bool {
    arch == "src" || arch == "nosrc"
}

/// Returns the yum architecture of a tree architecture (`i386` → `i686`, `armhfp` → `armv7hnl`, most are themselves).
pub fn yum_arch(tree_arch: &str) -> &str {
    find(TREE, tree_arch).unwrap_or(tree_arch)
}

/// Returns what a yum architecture can run, best first, `noarch` last.
///
/// ```
/// assert_eq!(
///     tutti_depsolve::arch::arch_chain("x86_64"),
///     ["x86_64", "athlon", "i686", "i586", "i486", "i386", "noarch"],
/// );
/// ```
pub fn arch_chain(yum_arch: &str) -> Vec<&str> {
    let mut chain = Vec::new();
    let mut arch = yum_arch;
    while arch != "noarch" {
        chain.push(arch);
        arch = find(NEXT, arch).unwrap_or("noarch");
    }
    chain.push("noarch");
    chain
}

/// Returns the architectures of the second library set, best first, without `noarch`; empty where there is none.
pub fn multilib_arches(yum_arch: &str) -> Vec<&'static str> {
    let Some(best) = arch_chain(yum_arch).into_iter().find_map(|arch| find(MULTILIB, arch)) else {
        return Vec::new();
    };
    let mut chain = arch_chain(best);
    chain.pop();
    chain
}

/// Returns the chain without the second library set; `noarch` included.
pub fn native_arches(yum_arch: &str) -> Vec<&str> {
    let multilib = multilib_arches(yum_arch);
    arch_chain(yum_arch).into_iter().filter(|arch| !multilib.contains(arch)).collect()
}

/// Whether a package set of a tree architecture includes the second library set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Libraries {
    /// Native architectures only.
    Native,
    /// Native architectures and the second library set.
    Multilib,
}

/// Returns the architectures whose packages a package set of this tree architecture may hold: binaries first, then
/// `noarch`, `src`, `nosrc`.
pub fn valid_arches(tree_arch: &str, libraries: Libraries) -> Vec<&str> {
    let mut arches = compatible_arches(tree_arch, libraries);
    arches.extend(["src", "nosrc"]);
    arches
}

/// Returns the binary architectures that fit into a tree of this architecture, `noarch` last.
pub fn compatible_arches(tree_arch: &str, libraries: Libraries) -> Vec<&str> {
    let arch = yum_arch(tree_arch);
    match libraries {
        Libraries::Native => native_arches(arch),
        Libraries::Multilib => arch_chain(arch),
    }
}

/// Returns the tree architecture that a package architecture belongs to (`i686` → `i386`, `armv7hl` → `armhfp`).
pub fn base_arch(arch: &str) -> &str {
    match arch {
        "athlon" | "geode" | "i686" | "i586" | "i486" | "i386" => "i386",
        "amd64" | "ia32e" => "x86_64",
        "ppc64p7" | "ppc64pseries" | "ppc64iseries" => "ppc64",
        "armv7hnl" | "armv7hl" | "armv6hl" => "armhfp",
        "armv7l" | "armv6l" | "armv5tejl" | "armv5tel" => "arm",
        "sparc64v" | "sparc64" | "sparcv9v" | "sparcv9" | "sparcv8" => "sparc",
        "sh4a" => "sh4",
        _ if arch.starts_with("alpha") => "alpha",
        _ => arch,
    }
}

/// How `ExcludeArch` and `ExclusiveArch` of a source package bind its noarch packages (Pungi's `pkgset_exclusive_arch_*`
/// options).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoarchRules {
    /// Whether noarch packages inherit the limits at all (`pkgset_inherit_exclusive_arch_to_noarch`).
    pub inherit: bool,
    /// Whether `noarch` in a limit stands for every tree (`pkgset_exclusive_arch_considers_noarch`).
    pub considers_noarch: bool,
}

impl Default for NoarchRules {
    fn default() -> Self {
        NoarchRules { inherit: true, considers_noarch: true }
    }
}

/// Whether a noarch package whose source package has these limits goes into a tree of this architecture.
pub fn noarch_allowed(tree_arch: &str, exclude: &[String], exclusive: &[String], rules: NoarchRules) -> bool {
    if !rules.inherit {
        return true;
    }
    let arches: Vec<&str> = compatible_arches(tree_arch, Libraries::Native)
        .into_iter()
        .filter(|arch| rules.considers_noarch || *arch != "noarch")
        .collect();
    let hits = |limits: &[String]| limits.iter().any(|limit| arches.contains(&limit.as_str()));
    !hits(exclude) && (exclusive.is_empty() || hits(exclusive))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_follow_yum() {
        assert_eq!(arch_chain("i686"), ["i686", "i586", "i486", "i386", "noarch"]);
        assert_eq!(arch_chain("aarch64"), ["aarch64", "noarch"]);
        assert_eq!(arch_chain(yum_arch("armhfp")), ["armv7hnl", "armv7hl", "armv6hl", "noarch"]);
        assert_eq!(arch_chain("mips"), ["mips", "noarch"]);
    }

    #[test]
    fn second_library_sets() {
        assert_eq!(multilib_arches("x86_64"), ["athlon", "i686", "i586", "i486", "i386"]);
        assert_eq!(native_arches("x86_64"), ["x86_64", "noarch"]);
        assert_eq!(multilib_arches("s390x"), ["s390"]);
        assert_eq!(native_arches("ppc64p7"), ["ppc64p7", "ppc64", "noarch"]);
        assert!(multilib_arches("aarch64").is_empty());
        assert!(multilib_arches("ppc64le").is_empty());
        assert!(multilib_arches("i686").is_empty());
    }

    #[test]
    fn package_set_arches() {
        assert_eq!(valid_arches("x86_64", Libraries::Native), ["x86_64", "noarch", "src", "nosrc"]);
        assert_eq!(valid_arches("i386", Libraries::Native), ["i686", "i586", "i486", "i386", "noarch", "src", "nosrc"]);
        assert_eq!(base_arch("i586"), "i386");
        assert_eq!(compatible_arches(base_arch("armv7hl"), Libraries::Native)[0], "armv7hnl");
    }

    #[test]
    fn noarch_limits() {
        let list = |arches: &[&str]| arches.iter().map(|arch| arch.to_string()).collect::<Vec<_>>();
        let allowed = |exclude: &[&str], exclusive: &[&str], rules| {
            noarch_allowed("x86_64", &list(exclude), &list(exclusive), rules)
        };
        let rules = NoarchRules::default();
        assert!(allowed(&[], &[], rules));
        assert!(!allowed(&["x86_64"], &[], rules));
        assert!(allowed(&["i686"], &[], rules), "the second library set does not count");
        assert!(!allowed(&[], &["s390x"], rules));
        assert!(allowed(&[], &["s390x", "noarch"], rules));
        assert!(!allowed(&[], &["s390x", "noarch"], NoarchRules { considers_noarch: false, ..rules }));
        assert!(allowed(&["x86_64"], &["s390x"], NoarchRules { inherit: false, ..rules }));
    }
}
