//! Each rule of the `.conf` grammar.

use crate::config::parse_conf;

#[test]
fn reads_an_assignment() {
    let options = parse_conf("a = 1", "t.conf").expect("valid");
    assert_eq!(options["a"].as_int(), Some(1));
}
