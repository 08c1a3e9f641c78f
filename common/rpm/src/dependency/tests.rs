use proptest::prelude::*;

use super::*;

fn dependency(text: &str) -> Dependency {
    Dependency::parse(text).unwrap()
}

#[test]
fn parses_and_displays() {
    for text in ["foo", "foo >= 1:2-3", "/bin/sh", "(a or b >= 1)", "lib.so()(64bit) = 1"] {
        assert_eq!(dependency(text).to_string(), text);
    }
    assert_eq!(dependency(" foo  ==  1 ").to_string(), "foo = 1");
    assert_eq!(dependency("foo =< 1").range, Some((Sense::LessEqual, Evr::parse("1"))));
    assert!(dependency("(a or b)").is_rich());
}

#[test]
fn refuses() {
    for (text, error) in [
        ("", "dependency is empty"),
        ("foo bar", "expected <, <=, =, >= or > after \"foo\", found \"bar\""),
        ("foo >=", "version missing after \">=\" of \"foo\""),
        ("foo >= 1 2", "unexpected \"2\" after dependency \"foo\""),
    ] {
        assert_eq!(Dependency::parse(text).unwrap_err().to_string(), error);
    }
}

#[test]
fn sense_texts_and_bits() {
    for sense in Sense::ALL {
        assert_eq!(Sense::from_bits(sense.bits() | 1 << 9), Some(sense));
        assert_eq!(Sense::from_repodata(sense.repodata()), Some(sense));
        assert_eq!(Sense::from_operator(sense.operator()), Some(sense));
    }
    for flags in [0, 1, 6, 14, 1 << 20] {
        assert_eq!(Sense::from_bits(flags), None);
    }
}

#[test]
fn overlap_facts() {
    for (provide, require, expected) in [
        ("a = 1-1", "a", true),
        ("a", "a >= 5", true),
        ("a = 1-1", "b", false),
        ("a = 1.0-1", "a = 1.0", true),
        ("a = 1.0", "a = 1.0-7", true),
        ("a = 1.0-1", "a > 1.0", false),
        ("a = 1.0-1", "a < 1.0", false),
        ("a = 1.0-1", "a >= 1.0", true),
        ("a = 1.0-1", "a <= 1.0", true),
        ("a = 1:1.0-1", "a >= 2", true),
        ("a = 0:1.0-1", "a = 1.0-1", true),
        ("a = 1.0-1", "a < 1.0-1", false),
        ("a < 2", "a > 1", true),
        ("a < 1", "a > 1", false),
        ("a > 3", "a > 1", true),
        ("a <= 1", "a >= 1", true),
        ("a < 1", "a <= 1", true),
    ] {
        let (provide, require) = (dependency(provide), dependency(require));
        assert_eq!(overlaps(&provide, &require), expected, "{provide} / {require}");
        assert_eq!(overlaps(&require, &provide), expected, "{require} / {provide}");
    }
}

proptest! {
    #[test]
    fn symmetric_and_reflexive(
        a in "[0-2.]{1,3}(-[0-2])?", b in "[0-2.]{1,3}(-[0-2])?",
        one in 0..5usize, two in 0..5usize,
    ) {
        let a = (Sense::ALL[one], Evr::parse(&a));
        let b = (Sense::ALL[two], Evr::parse(&b));
        prop_assert_eq!(ranges_overlap(Some(&a), Some(&b)), ranges_overlap(Some(&b), Some(&a)));
        prop_assert!(ranges_overlap(Some(&a), Some(&a)));
        prop_assert!(ranges_overlap(None, Some(&a)));
    }

    #[test]
    fn any_text(text in ".{0,40}") {
        let _ = Dependency::parse(&text);
    }
}
