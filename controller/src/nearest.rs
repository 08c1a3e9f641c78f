//! Names that somebody may have meant.

/// Names offered for a wrong one.
const OFFERED: usize = 3;
/// Below this likeness (Jaro-Winkler, 0 to 1) a name is no guess.
const LIKE: f64 = 0.75;
/// Longer texts are not compared.
const LONGEST: usize = 200;

/// The known names most like `wrong`, best first; none if nothing is like it.
pub fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    if wrong.len() > LONGEST {
        return Vec::new();
    }
    let mut found: Vec<(f64, &str)> = known
        .into_iter()
        .filter(|name| name.len() <= LONGEST)
        .map(|name| (strsim::jaro_winkler(wrong, name), name))
        .filter(|(like, _)| *like >= LIKE)
        .collect();
    found.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    found.into_iter().take(OFFERED).map(|(_, name)| name).collect()
}

/// `; did you mean a, b?`, or nothing.
pub fn suggestion<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    match nearest(wrong, known).as_slice() {
        [] => String::new(),
        names => format!("; did you mean {}?", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_alike_come_first() {
        let known = ["createrepo.Server.x86_64", "createrepo.Server.aarch64", "metadata"];
        assert_eq!(nearest("createrepo.Sever.x86_64", known)[0], "createrepo.Server.x86_64");
        assert_eq!(nearest("metdata", known), ["metadata"]);
        assert_eq!(suggestion("xyzzy", known), "");
        assert_eq!(suggestion("metadat", known), "; did you mean metadata?");
    }
}
