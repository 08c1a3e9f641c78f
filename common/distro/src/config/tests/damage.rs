//! Damaged and hostile input: always an answer, never a panic.

use proptest::prelude::*;

use super::{Files, MINIMAL};
use crate::config::{Pattern, check, parse_conf};

const SAMPLE: &str = r#"release_name = "Test" # comment
a = {'x': [1, -2.5, (None, True)], "y": '%s-%(k)s' % {'k': 'v'}}
from common import *
additional_packages = [('^Server$', {'*': ['a', 'b']})]
comps_file = {'scm': 'git', 'repo': 'u', 'file': 'c'}
createrepo_extra_args = ['--distro=a,b']
"#;

/// Writes bytes as `c.conf` and `c.json` and checks both.
fn survives(bytes: &[u8]) {
    let files = Files::new(&[("common.conf", "z = 1")]);
    for name in ["c.conf", "c.json"] {
        std::fs::write(files.path(name), bytes).expect("written");
        check(&files.path(name));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        survives(&bytes);
    }

    #[test]
    fn any_text_of_the_language(text in "([a-z_]{1,3}|[0-9.]{1,3}|[ \n\\[\\](){}=:,%'\"#*\\\\-]|from |import |global |True|é){0,60}") {
        survives(text.as_bytes());
        let _ = parse_conf(&text, "t.conf");
    }

    #[test]
    fn damaged_samples(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = format!("{MINIMAL}{SAMPLE}").into_bytes();
        for (index, byte) in changes {
            let position = index.index(bytes.len());
            bytes[position] = byte;
        }
        survives(&bytes);
        bytes.truncate(cut.index(bytes.len()));
        survives(&bytes);
    }

    #[test]
    fn any_format(format in "[%()sdrxof0-9. a*#+-]{0,20}", argument in "('[a-z]{0,3}'|-?[0-9]{1,4}|\\[1\\]|\\(1,'a'\\)|\\{'a': 1\\})") {
        let _ = parse_conf(&format!("v = '{format}' % {argument}"), "t.conf");
    }

    #[test]
    fn any_pattern(pattern in "[ab^$.*+?()\\[\\]|\\\\Z1<>!=P{},&~-]{0,20}", text in "[ab]{0,4}") {
        if let Ok(pattern) = Pattern::new(&pattern) {
            pattern.matches(&text);
        }
    }

    #[test]
    fn scalars_and_lists_survive(items in proptest::collection::vec(prop_oneof![
        any::<i64>().prop_filter("no literal for it", |n| *n != i64::MIN).prop_map(|n| (n.to_string(), serde_json::json!(n))),
        "[a-z %$^.*é]{0,10}".prop_map(|s| (format!("'{s}'"), serde_json::json!(s))),
        any::<bool>().prop_map(|b| (if b { "True" } else { "False" }.to_owned(), serde_json::json!(b))),
    ], 0..10)) {
        let (texts, values): (Vec<String>, Vec<serde_json::Value>) = items.into_iter().unzip();
        let options = parse_conf(&format!("v = [{}]", texts.join(", ")), "t.conf");
        prop_assert_eq!(options.expect("valid")["v"].to_json(), serde_json::Value::from(values));
    }
}

#[test]
fn files_that_are_no_configuration() {
    let files = Files::new(&[("huge.conf", &" ".repeat((8 << 20) + 1)), ("d/x", "")]);
    let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01";
    std::fs::write(files.path("image.conf"), png).expect("written");
    std::fs::write(files.path("latin.conf"), b"a = '\xe9'").expect("written");
    std::fs::write(files.path("control.conf"), b"a = \x1b[0m").expect("written");
    let each = ["image.conf", "latin.conf", "control.conf", "huge.conf", "d", "missing.conf"];
    let errors = each.map(|name| {
        let report = files.check(name);
        assert_eq!(report.errors.len(), 1, "{:?}", report.errors);
        report.errors[0].replace(&format!("{}", files.path("").display()), "")
    });
    insta::assert_snapshot!(errors.join("\n"), @r#"
    image.conf: not a text file (byte 8 is zero); a configuration is UTF-8 text in Pungi's .conf dialect or JSON
    latin.conf: not a text file (byte 5 is not UTF-8); a configuration is UTF-8 text in Pungi's .conf dialect or JSON
    control.conf:1:5: unexpected control character '\u{1b}'
    huge.conf: not a text file (it is larger than 8 MiB); a configuration is UTF-8 text in Pungi's .conf dialect or JSON
    d: not a text file (it is a directory: name the file in it); a configuration is UTF-8 text in Pungi's .conf dialect or JSON
    cannot read configuration missing.conf: No such file or directory (os error 2)
    "#);
}
