//! Architectures that one stands for, as mergerepo_c 1.2.5 expands them (`koji.c`, `mergerepo_c.c`).

/// Compatible architectures of one.
const EXPANDED: &[(&str, &[&str])] = &[
    ("x86_64", &["ia32e", "amd64", "i386", "i486", "i586", "geode", "i686", "athlon"]),
    ("i386", &["i486", "i586", "geode", "i686", "athlon"]),
    ("ppc64", &["ppc64pseries", "ppc64iseries", "ppc"]),
    ("s390x", &["s390"]),
    ("sparc64", &["sparc64v", "sparc64v2", "sparc", "sparcv8", "sparcv9", "sparcv9v", "sparcv9v2"]),
    ("sparc", &["sparcv8", "sparcv9", "sparcv9v", "sparcv9v2"]),
    (
        "alpha",
        &[
            "alphaev4",
            "alphaev45",
            "alphaev5",
            "alphaev56",
            "alphapca56",
            "alphaev6",
            "alphaev67",
            "alphaev68",
            "alphaev7",
        ],
    ),
    ("armhfp", &["armv7hl", "armv7hnl"]),
    // It says `rmv5tel` there.
    ("arm", &["armv5tel", "armv5tejl", "armv6l", "armv7l"]),
    ("sh4", &["sh4a"]),
];

/// The architectures named in a list, whose separators are `,` and `;`; noarch is always one of them.
pub fn named(list: &str) -> Vec<String> {
    let mut arches: Vec<String> = list.split([',', ';']).filter(|arch| !arch.is_empty()).map(str::to_owned).collect();
    arches.push("noarch".to_owned());
    arches
}

/// With those that they stand for.
pub fn expanded(arches: Vec<String>) -> Vec<String> {
    let more = arches.iter().filter_map(|arch| EXPANDED.iter().find(|(name, _)| name == arch));
    let more: Vec<String> = more.flat_map(|(_, names)| names.iter().map(|name| (*name).to_owned())).collect();
    [arches, more].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        assert_eq!(named("a,b;c"), ["a", "b", "c", "noarch"]);
        assert_eq!(expanded(named("s390x")), ["s390x", "noarch", "s390"]);
        assert_eq!(expanded(named("")), ["noarch"]);
        assert!(expanded(named("x86_64")).contains(&"i686".to_owned()));
    }
}
