use std::cmp::Ordering::{self, Equal, Greater, Less};

use proptest::prelude::*;

use super::*;

/// Pairs and their order, facts from rpm 4.20 `tests/rpmvercmp.at` (with the oddities noted there).
const FACTS: &[(&str, &str, Ordering)] = &[
    ("1.0", "1.0", Equal),
    ("1.0", "2.0", Less),
    ("2.0", "2.0.1", Less),
    ("2.0.1a", "2.0.1", Greater),
    ("5.5p1", "5.5p2", Less),
    ("5.5p10", "5.5p1", Greater),
    ("10xyz", "10.1xyz", Less),
    ("xyz10", "xyz10.1", Less),
    ("xyz.4", "8", Less),
    ("xyz.4", "2", Less),
    ("5.5p2", "5.6p1", Less),
    ("5.6p1", "6.5p1", Less),
    ("6.0.rc1", "6.0", Greater),
    ("10b2", "10a1", Greater),
    ("10a2", "10b2", Less),
    ("1.0a", "1.0aa", Less),
    ("10.0001", "10.1", Equal),
    ("10.0001", "10.0039", Less),
    ("4.999.9", "5.0", Less),
    ("20101121", "20101122", Less),
    ("2_0", "2.0", Equal),
    ("a+", "a_", Equal),
    ("+a", "_a", Equal),
    ("+_", "_+", Equal),
    ("+", "_", Equal),
    ("1.0~rc1", "1.0", Less),
    ("1.0~rc1", "1.0~rc2", Less),
    ("1.0~rc1~git123", "1.0~rc1", Less),
    ("1.0^", "1.0", Greater),
    ("1.0^git1", "1.0", Greater),
    ("1.0^git1", "1.0^git2", Less),
    ("1.0^git1", "1.01", Less),
    ("1.0^20160101", "1.0.1", Less),
    ("1.0^20160102", "1.0^20160101^git1", Greater),
    ("1.0~rc1^git1", "1.0~rc1", Greater),
    ("1.0^git1", "1.0^git1~pre", Greater),
    ("1b.fc17", "1.fc17", Less),
    ("1g.fc17", "1.fc17", Greater),
    ("1.1.α", "1.1.β", Equal),
    ("1.1.αα", "1.1.α", Equal),
    ("", "", Equal),
    ("", "1", Less),
    ("", "~", Greater),
    ("00", "0", Equal),
    ("99999999999999999999999", "100000000000000000000000", Less),
];

#[test]
fn rpm_facts() {
    for (a, b, order) in FACTS {
        assert_eq!(version_compare(a, b), *order, "{a} {b}");
        assert_eq!(version_compare(b, a), order.reverse(), "{b} {a}");
    }
}

#[test]
fn parses_as_rpm() {
    let evr = |epoch, version: &str, release: &str| Evr { epoch, version: version.into(), release: release.into() };
    assert_eq!(Evr::parse("1:2-3"), evr(Some(1), "2", "3"));
    assert_eq!(Evr::parse("2-3"), evr(None, "2", "3"));
    assert_eq!(Evr::parse("2"), evr(None, "2", ""));
    assert_eq!(Evr::parse("1-2-3"), evr(None, "1-2", "3"));
    assert_eq!(Evr::parse(":2"), evr(Some(0), "2", ""));
    assert_eq!(Evr::parse("a:2"), evr(None, "a:2", ""));
    assert_eq!(Evr::parse("99999999999:2"), evr(Some(u32::MAX), "2", ""));
    assert_eq!(Evr::parse(""), Evr::default());
}

#[test]
fn labels() {
    let order = |a, b| Evr::parse(a).compare(&Evr::parse(b));
    assert_eq!(order("0:1-1", "1-1"), Equal);
    assert_eq!(order("1:1-1", "2-1"), Greater);
    assert_eq!(order("1", "1-1"), Less);
    assert_eq!(order("1-2", "1-10"), Less);
}

/// Versions from the characters that matter, so that near misses are frequent.
fn version() -> impl Strategy<Value = String> {
    proptest::collection::vec(
        proptest::sample::select(vec!["0", "1", "9", "a", "b", "Z", ".", "_", "~", "^", "é"]),
        0..8,
    )
    .prop_map(|parts| parts.concat())
}

fn evr() -> impl Strategy<Value = Evr> {
    (proptest::option::of(0..3u32), version(), version()).prop_map(|(epoch, version, release)| Evr {
        epoch,
        version,
        release,
    })
}

proptest! {
    #[test]
    fn antisymmetric_and_same_as_sort_key(a in evr(), b in evr()) {
        prop_assert_eq!(a.compare(&b), b.compare(&a).reverse());
        prop_assert_eq!(a.compare(&b), a.sort_key().cmp(&b.sort_key()));
    }

    #[test]
    fn transitive(a in version(), b in version(), c in version()) {
        let mut sorted = [a, b, c];
        sorted.sort_by(|one, two| version_compare(one, two));
        prop_assert_ne!(version_compare(&sorted[0], &sorted[2]), Greater);
        prop_assert_ne!(version_compare(&sorted[0], &sorted[1]), Greater);
    }

    #[test]
    fn any_text(a in ".*", b in ".*") {
        prop_assert_eq!(version_compare(&a, &b), version_compare(&b, &a).reverse());
    }

    #[test]
    fn displayed_and_parsed(text in "([0-9]{1,9}:)?[0-9a-z.~^]{1,9}(-[0-9a-z.]{1,9})?") {
        prop_assert_eq!(Evr::parse(&text), Evr::parse(&Evr::parse(&text).to_string()));
    }

    #[test]
    fn as_rpm_version(a in "[019ab.~^_]{1,9}", b in "[019ab.~^_]{1,9}") {
        prop_assert_eq!(version_compare(&a, &b), rpm_version::rpm_evr_compare(&a, &b));
    }
}
