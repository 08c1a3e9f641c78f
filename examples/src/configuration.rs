//! What is composed from the packages, and how: the files of `examples/distribution/`.

/// Path below the distribution's directory, and text.
pub(crate) const FILES: [(&str, &str); 4] = [
    ("compose.conf", include_str!("../distribution/compose.conf")),
    ("variants.xml", include_str!("../distribution/variants.xml")),
    ("comps.xml", include_str!("../distribution/comps.xml")),
    ("extra/EULA", include_str!("../distribution/extra/EULA")),
];
