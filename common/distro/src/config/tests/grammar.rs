//! Each rule of the `.conf` grammar. What is accepted here was compared with kobo 0.42 on Python 3.11.

use serde_json::json as j;

use super::{Files, error, json, kind};
use crate::config::{Kind, parse_conf, parse_definition};

#[test]
fn scalars() {
    assert_eq!(kind("v = 'a'"), Kind::Str("a".into()));
    assert_eq!(kind("v = \"it's\""), Kind::Str("it's".into()));
    assert_eq!(kind("v = 0"), Kind::Int(0));
    assert_eq!(kind("v = 000"), Kind::Int(0));
    assert_eq!(kind("v = 1_000"), Kind::Int(1000));
    assert_eq!(kind("v = - 7"), Kind::Int(-7));
    assert_eq!(kind("v = 1.5"), Kind::Float(1.5));
    assert_eq!(kind("v = .5"), Kind::Float(0.5));
    assert_eq!(kind("v = 5."), Kind::Float(5.0));
    assert_eq!(kind("v = -1.5e-3"), Kind::Float(-0.0015));
    assert_eq!(kind("v = True"), Kind::Bool(true));
    assert_eq!(kind("v = False"), Kind::Bool(false));
    assert_eq!(kind("v = None"), Kind::None);
}

#[test]
fn numbers_without_a_point_are_base_10() {
    insta::assert_snapshot!(error("v = 0x1f"), @"t.conf:1:5: 0x1f is not a whole number in base 10; a text is written in quotes");
    insta::assert_snapshot!(error("v = 1e5"), @"t.conf:1:5: 1e5 is not a whole number in base 10; a text is written in quotes");
    insta::assert_snapshot!(error("v = 007"), @"t.conf:1:5: number 007 must not start with 0");
    insta::assert_snapshot!(error("v = 1.2.3"), @"t.conf:1:5: 1.2.3 is not a number; a text is written in quotes");
    insta::assert_snapshot!(error("v = 1.5j"), @"t.conf:1:5: 1.5j is not a number; a text is written in quotes");
    insta::assert_snapshot!(error("v = 1__0"), @"t.conf:1:5: 1__0 is not a number");
    insta::assert_snapshot!(error("v = 9223372036854775808"), @"t.conf:1:5: number 9223372036854775808 is too large");
    insta::assert_snapshot!(error("v = 1.0e400"), @"t.conf:1:5: number 1.0e400 is too large");
    insta::assert_snapshot!(error("v = --1"), @"t.conf:1:6: expected a number after '-', found '-'");
    insta::assert_snapshot!(error("v = +1"), @"t.conf:1:5: expected a value, found '+'");
}

#[test]
fn escapes_stay_as_written() {
    assert_eq!(kind(r"v = 'a\nb'"), Kind::Str(r"a\nb".into()));
    assert_eq!(kind(r"v = 'it\'s'"), Kind::Str(r"it\'s".into()));
    assert_eq!(kind("v = 'a\\\nb'"), Kind::Str("a\\\nb".into()));
    assert_eq!(kind("v = ''"), Kind::Str(String::new()));
}

#[test]
fn strings_have_no_prefixes_and_single_quotes_only() {
    insta::assert_snapshot!(error("v = r'a'"), @r#"t.conf:1:5: string prefix "r" is not allowed; write the string without it"#);
    insta::assert_snapshot!(error("v = f\"a\""), @r#"t.conf:1:5: string prefix "f" is not allowed; write the string without it"#);
    insta::assert_snapshot!(error("v = '''a'''"), @"t.conf:1:5: triple quotes are not allowed");
    insta::assert_snapshot!(error("v = 'a"), @"t.conf:1:5: string is not closed: missing '");
    insta::assert_snapshot!(error("v = 'a\nb'"), @"t.conf:1:5: string is not closed: missing '");
    insta::assert_snapshot!(error("v = 'a' 'b'"), @r#"t.conf:1:9: expected NAME = value, from FILE import or global NAME, found the string "b"; neighbouring strings are not joined"#);
}

#[test]
fn containers_nest_and_commas_are_optional() {
    assert_eq!(json("v = []"), j!([]));
    assert_eq!(json("v = [1, 2, 3,]"), j!([1, 2, 3]));
    assert_eq!(json("v = [1 2,,, 3]"), j!([1, 2, 3]));
    assert_eq!(json("v = [, 1]"), j!([1]));
    assert_eq!(json("v = ['a' 'b']"), j!(["a", "b"]));
    assert_eq!(json("v = {'a': 1 'b': 2,,}"), j!({"a": 1, "b": 2}));
    assert_eq!(json("v = {'a': [('^x$', {'*': ['p']})]}"), j!({"a": [["^x$", {"*": ["p"]}]]}));
    assert_eq!(json("v = {1: 2, None: 3, True: 4, -1: 5}"), j!({"1": 2, "null": 3, "true": 4, "-1": 5}));
    assert!(matches!(kind("v = (1)"), Kind::Tuple(items) if items.len() == 1));
    assert!(matches!(kind("v = ()"), Kind::Tuple(items) if items.is_empty()));
}

#[test]
fn dictionary_keys_are_scalar_and_distinct() {
    insta::assert_snapshot!(error("v = {'a': 1, 'a': 2}"), @r#"t.conf:1:14: duplicate dictionary key: the string "a""#);
    insta::assert_snapshot!(error("v = {'b': {\n  'a': 1,\n  'a': 1}}"), @r#"t.conf:3:3: duplicate dictionary key: the string "a""#);
    insta::assert_snapshot!(error("v = {[1]: 2}"), @"t.conf:1:6: expected a value, found '['");
    insta::assert_snapshot!(error("l = [1]\nv = {l: 2}"), @"t.conf:2:6: a list of 1 cannot be a dictionary key");
    insta::assert_snapshot!(error("v = {'a', 'b'}"), @"t.conf:1:9: expected ':' after a dictionary key, found ','");
    assert_eq!(json("k = 'a'\nv = {k: 1, 'b%s' % 1: 2}"), j!({"a": 1, "b1": 2}));
}

#[test]
fn nothing_is_evaluated() {
    insta::assert_snapshot!(error("v = 1 + 2"), @"t.conf:1:7: expected NAME = value, from FILE import or global NAME, found '+'; expressions are not evaluated");
    insta::assert_snapshot!(error("v = str(1)"), @"t.conf:1:5: str is not defined; a text is written in quotes");
    insta::assert_snapshot!(error("v = [x for x in 1]"), @"t.conf:1:6: x is not defined; a text is written in quotes");
    insta::assert_snapshot!(error("a = [1]\nv = a[0]"), @"t.conf:2:6: expected NAME = value, from FILE import or global NAME, found '['; expressions are not evaluated");
    insta::assert_snapshot!(error("import os"), @"t.conf:1:1: import is a Python keyword and cannot be assigned");
    insta::assert_snapshot!(error("v == 1"), @"t.conf:1:4: expected a value, found '='");
    insta::assert_snapshot!(error("v = 1;"), @"t.conf:1:6: expected NAME = value, from FILE import or global NAME, found ';'");
    insta::assert_snapshot!(error("v += 1"), @"t.conf:1:3: expected '=' after v, found '+'");
}

#[test]
fn lines_and_indentation_hardly_matter() {
    assert_eq!(json("v\n=\n1"), j!(1));
    assert_eq!(json("   a = 1 v = 2"), j!(2));
    assert_eq!(json("# c\r\nv = [ # d\r\n 1\r\n]\r\n"), j!([1]));
    assert_eq!(json("v = \\\n  1"), j!(1));
    assert_eq!(json("\u{feff}v = 1"), j!(1));
    assert_eq!(json("v = 1 # 'open"), j!(1));
    insta::assert_snapshot!(error("v = \\ 1"), @"t.conf:1:5: unexpected backslash: it may only stand at the end of a line");
}

#[test]
fn names_are_limited() {
    insta::assert_snapshot!(error("_v = 1"), @"t.conf:1:1: name _v is not allowed: names must not start with '_'");
    insta::assert_snapshot!(error("class = 1"), @"t.conf:1:1: class is a Python keyword and cannot be assigned");
    insta::assert_snapshot!(error("True = 1"), @"t.conf:1:1: True is a Python keyword and cannot be assigned");
    insta::assert_snapshot!(error("1 = 1"), @"t.conf:1:1: expected NAME = value, from FILE import or global NAME, found the number 1");
    insta::assert_snapshot!(error("v = nothing"), @"t.conf:1:5: nothing is not defined; a text is written in quotes");
    insta::assert_snapshot!(error("v = true"), @"t.conf:1:5: true is not defined; write True, False or None");
    insta::assert_snapshot!(error("v = v"), @"t.conf:1:5: v is not defined; a text is written in quotes");
    assert_eq!(json("match = 1\nv = match"), j!(1));
    assert_eq!(json("größe = 1\nv = größe"), j!(1));
}

#[test]
fn variables_are_copied_and_later_assignments_win() {
    assert_eq!(json("a = [1]\nv = [a, a]\na = 2"), j!([[1], [1]]));
    assert_eq!(json("v = 1\nv = [v]\nv = [v]"), j!([[1]]));
}

#[test]
fn formats() {
    assert_eq!(json("v = '%s-%d' % ('a', 3)"), j!("a-3"));
    assert_eq!(json("a = 'x'\nv = '%s!' % a"), j!("x!"));
    assert_eq!(json("v = '%(k)s %(k)05d%%' % {'k': 42}"), j!("42 00042%"));
    assert_eq!(json("v = '%s %r' % ([1, 'a', None], \"it's\")"), j!("[1, 'a', None] \"it's\""));
    assert_eq!(json("v = '%-4s|%4s|%.2f|%x|%#o' % ('a', 'b', 1.005, 255, 8)"), j!("a   |   b|1.00|ff|0o10"));
    assert_eq!(json("v = '%s' % 'a%s' % 'b'"), j!("ab"));
    assert_eq!(
        json("v = '%s %s %s' % (1.0, 1.5e20, (1,))").as_str().map(str::len),
        None.or(Some("1.0 1.5e+20 (1,)".len()))
    );
    assert_eq!(json("v = '%(release_short)s'"), j!("%(release_short)s"));
    assert_eq!(json("v = 'a' \\\n % {}"), j!("a"));
}

#[test]
fn wrong_formats() {
    insta::assert_snapshot!(error("v = '%s %s' % 'a'"), @"t.conf:1:5: not enough values for the format");
    insta::assert_snapshot!(error("v = '%s' % ('a', 'b')"), @"t.conf:1:5: more values than the format uses");
    insta::assert_snapshot!(error("v = '%d' % 'a'"), @r#"t.conf:1:5: %d needs a whole number, found the string "a""#);
    insta::assert_snapshot!(error("v = '%(a)s' % 'a'"), @r#"t.conf:1:5: format uses the key "a", so a dictionary must follow %"#);
    insta::assert_snapshot!(error("v = '%(a)s' % {'b': 1}"), @r#"t.conf:1:5: key "a" of the format is not in the dictionary"#);
    insta::assert_snapshot!(error("v = '%q' % 1"), @"t.conf:1:5: format conversion %q is not supported");
    insta::assert_snapshot!(error("v = '%' % 1"), @"t.conf:1:5: format ends in the middle of a conversion");
    insta::assert_snapshot!(error("v = '%99999999s' % 1"), @"t.conf:1:5: width 99999999 of the format is above 4096");
    insta::assert_snapshot!(error("v = 'a%s'\n% 'b'"), @"t.conf:2:1: expected NAME = value, from FILE import or global NAME, found '%'; expressions are not evaluated");
    insta::assert_snapshot!(error("v = 5 % 'b'"), @"t.conf:1:7: expected NAME = value, from FILE import or global NAME, found '%'; expressions are not evaluated");
}

#[test]
fn imports_override_and_are_overridden() {
    let files = Files::new(&[
        ("main.conf", "a = 1\nb = 1\nfrom sub/common-1.2 import *\nb = 3\n"),
        ("sub/common-1.2.conf", "from ../other import c\na = 2\nb = 2\n"),
        ("other.conf", "c = 'c'\nd = 'd'"),
    ]);
    let options = crate::config::load_document(&files.path("main.conf"), &[]).expect("valid");
    assert_eq!(options.options["a"].as_int(), Some(2));
    assert_eq!(options.options["b"].as_int(), Some(3));
    assert_eq!(options.options["c"].as_str(), Some("c"));
    assert!(!options.options.contains_key("d"));
    assert_eq!(options.files.len(), 3);
}

#[test]
fn import_lists_end_with_the_line() {
    let files = Files::new(&[
        ("main.conf", "from common import a, b c,,a # d\nv = 1"),
        ("common.conf", "a = 1\nb = 2\nc = 3\nd = 4"),
    ]);
    let document = crate::config::load_document(&files.path("main.conf"), &[]).expect("valid");
    let names: Vec<&String> = document.options.keys().collect();
    assert_eq!(names, ["a", "b", "c", "v"]);
}

#[test]
fn globals_reach_imported_files() {
    let files = Files::new(&[
        ("main.conf", "global release\nrelease = '9'\nlocal = 1\nfrom common import *"),
        ("common.conf", "tag = 'f%s' % release\nfrom deeper import *"),
        ("deeper.conf", "deep = release"),
        ("bad.conf", "release = '9'\nfrom common import *"),
    ]);
    let document = crate::config::load_document(&files.path("main.conf"), &[]).expect("valid");
    assert_eq!(document.options["tag"].as_str(), Some("f9"));
    assert_eq!(document.options["deep"].as_str(), Some("9"));
    let report = files.check("bad.conf");
    insta::assert_snapshot!(report.errors.join("\n"), @"common.conf:1:15: release is not defined; a text is written in quotes");
}

#[test]
fn wrong_imports() {
    let files = Files::new(&[
        ("missing.conf", "\n  from nowhere import *"),
        ("name.conf", "z = 1\nfrom common import a, z"),
        ("hidden.conf", "from common import _a"),
        ("self.conf", "from self import *"),
        ("circle.conf", "from circle2 import *"),
        ("circle2.conf", "from ./circle import *"),
        ("quoted.conf", "from 'common' import *"),
        ("open.conf", "from common"),
        ("nothing.conf", "from common import"),
        ("parens.conf", "from common import (a)"),
        ("common.conf", "a = 1"),
        ("inner.conf", "from broken import *"),
        ("broken.conf", "\na = ]"),
    ]);
    let each = ["missing", "name", "hidden", "self", "circle", "quoted", "open", "nothing", "parens", "inner"];
    let errors = each.map(|name| files.check(&format!("{name}.conf")).errors.join("\n"));
    insta::assert_snapshot!(errors.join("\n"), @r#"
    cannot read configuration nowhere.conf, imported by missing.conf:2: No such file or directory (os error 2)
    name.conf:2:23: cannot import z: common.conf does not define it
    hidden.conf:1:20: name _a is not allowed: names must not start with '_'
    self.conf:1:1: self.conf imports itself
    circle2.conf:1:1: ./circle.conf imports itself
    quoted.conf:1:6: file name in an import is written without quotes
    open.conf:1:1: from without import
    nothing.conf:1:19: expected names to import or *, found the end of the file
    parens.conf:1:20: expected names to import or *, found '('
    broken.conf:2:5: expected a value, found ']'
    "#);
}

#[test]
fn endless_import_chains_end() {
    let names: Vec<(String, String)> =
        (0..40).map(|i| (format!("f{i}.conf"), format!("from f{} import *", i + 1))).collect();
    let files: Vec<(&str, &str)> = names.iter().map(|(n, t)| (&**n, &**t)).collect();
    let errors = Files::new(&files).check("f0.conf").errors;
    assert!(errors[0].contains("16 within each other"), "{errors:?}");
}

#[test]
fn import_fans_end() {
    // Each file imports the next one twice: 2^15 reads without a limit.
    let names: Vec<(String, String)> = (0..15)
        .map(|i| {
            let next = format!("from f{} import *\n", i + 1);
            (format!("f{i}.conf"), next.repeat(2))
        })
        .chain([("f15.conf".to_owned(), "a = 1".to_owned())])
        .collect();
    let files: Vec<(&str, &str)> = names.iter().map(|(n, t)| (&**n, &**t)).collect();
    let errors = Files::new(&files).check("f0.conf").errors;
    assert!(errors[0].contains("more than 256 imports"), "{errors:?}");
}

#[test]
fn memory_imports_nothing() {
    insta::assert_snapshot!(error("from common import *"), @"t.conf:1:1: imports need a configuration that is a file");
}

#[test]
fn places_are_exact() {
    let options = parse_conf("a = [\n  'x',\n  {'kéy': None}]\nb = a", "t.conf").expect("valid");
    let items = options["a"].as_array().expect("list");
    assert_eq!(options["a"].at.to_string(), "t.conf:1:5");
    assert_eq!(items[0].at.to_string(), "t.conf:2:3");
    let (key, none) = &items[1].as_dict().expect("dict").entries[0];
    assert_eq!((key.at.column, none.at.column), (4, 11));
    assert_eq!(options["b"].at.to_string(), "t.conf:4:5");
}

#[test]
fn nesting_is_bounded() {
    let deep = format!("v = {}{}", "[".repeat(100_000), "]".repeat(100_000));
    insta::assert_snapshot!(error(&deep), @"t.conf:1:70: values nested more than 64 deep");
    let growing = format!("v = []\n{}", "v = [v]\n".repeat(100));
    insta::assert_snapshot!(error(&growing), @"t.conf:66:6: values nested more than 64 deep");
    let formats = format!("v = {}'a'", "'%s' % ".repeat(100_000));
    insta::assert_snapshot!(error(&formats), @"t.conf:1:460: values nested more than 64 deep");
    let fine = format!("v = {}{}", "[".repeat(60), "]".repeat(60));
    assert!(parse_conf(&fine, "t.conf").is_ok());
}

#[test]
fn expansion_is_bounded() {
    let lists = format!("v = [1]\n{}", "v = [v, v, v, v, v, v, v, v]\n".repeat(20));
    insta::assert_snapshot!(error(&lists), @"t.conf:8:6: configuration is too large once all variables are expanded");
    let texts = format!("v = 'a'\n{}", "v = '%s%s' % (v, v)\n".repeat(40));
    insta::assert_snapshot!(error(&texts), @"t.conf:22:5: formatted string is longer than 1 MiB");
}

#[test]
fn definitions_of_the_command_line() {
    assert_eq!(parse_definition("a=b=c").expect("valid"), ("a".into(), "b=c".into()));
    for bad in ["a", "=b", "_a=b", "1a=b", "a b=c", "for=1"] {
        assert!(parse_definition(bad).is_err(), "{bad}");
    }
    let files =
        Files::new(&[("c.conf", "v = 'f%s' % release_number\nfrom d import *"), ("d.conf", "w = release_number")]);
    let definitions = [("release_number".to_owned(), "42".to_owned())];
    let document = crate::config::load_document(&files.path("c.conf"), &definitions).expect("valid");
    assert_eq!(document.options["v"].as_str(), Some("f42"));
    assert_eq!(document.options["w"].as_str(), Some("42"));
}
