use proptest::prelude::*;

use super::*;

#[test]
fn displays_what_it_parsed() {
    for text in [
        "(a)",
        "(a or b)",
        "(a >= 1:2-3 and b and c < 2)",
        "(a if b)",
        "(a if b else c)",
        "(a unless b else (c or d))",
        "(a with b with c)",
        "(a without b)",
        "(perl(Foo::Bar) >= 1 with perl(Foo::Bar) < 2)",
        "((a or b) and (c if (d and e)))",
        "((a or b) with c)",
    ] {
        assert_eq!(Rich::parse(text).unwrap().to_string(), text);
    }
    // A comma is white space, as in rpm.
    assert_eq!(Rich::parse("( a,  or\tb , )").unwrap().to_string(), "(a or b)");
    assert_eq!(Rich::parse("(a   or,b )").unwrap_err().kind, RichErrorKind::UnknownOperator("or,b".to_owned()));
    assert_eq!(Rich::parse("((a))").unwrap().to_string(), "(a)");
    assert_eq!(Rich::parse("(foo(x)(64bit) or b)").unwrap().leaves().next().unwrap().name, "foo(x)(64bit)");
}

#[test]
fn operands_come_first() {
    let rich = Rich::parse("((a or b) if (c and d) else (e with f))").unwrap();
    for (place, node) in rich.nodes().iter().enumerate() {
        assert!(node.operands().iter().all(|operand| *operand < place));
    }
    assert_eq!(rich.root(), rich.nodes().len() - 1);
    assert_eq!(rich.leaves().map(|leaf| leaf.name.as_str()).collect::<String>(), "abcdef");
}

#[test]
fn refuses() {
    use RichErrorKind::*;
    for (text, offset, kind) in [
        ("", 0, NoParenthesis),
        ("a or b", 0, NoParenthesis),
        ("()", 1, Empty),
        ("(a or )", 6, MissingOperand),
        ("(a or", 5, Unterminated),
        ("(a", 2, Unterminated),
        ("(a b)", 3, UnknownOperator("b".to_owned())),
        ("(a >= )", 6, MissingVersion),
        ("(a and b or c)", 9, MixedOperators),
        ("(a if b if c)", 8, Repeated),
        ("(a without b without c)", 13, Repeated),
        ("(a if b else c else d)", 15, Repeated),
        ("(a if b else c and d)", 15, MixedOperators),
        ("(a else b)", 3, LoneElse),
        ("(a with (b and c))", 17, IllegalInWith),
        ("(a with ((b if c)))", 18, IllegalInWith),
        ("(a or b) c", 8, Junk),
    ] {
        assert_eq!(Rich::parse(text), Err(RichError { offset, kind }), "{text}");
    }
}

#[test]
fn limits() {
    let nested = |depth: usize| format!("{}a{}", "(".repeat(depth), ")".repeat(depth));
    assert!(Rich::parse(&nested(MAX_DEPTH)).is_ok());
    assert_eq!(Rich::parse(&nested(MAX_DEPTH + 1)).unwrap_err().kind, RichErrorKind::TooDeep);
    assert_eq!(Rich::parse(&"(".repeat(MAX_TEXT)).unwrap_err().kind, RichErrorKind::TooDeep);
    let long = format!("(a{})", " or a".repeat(20_000));
    assert_eq!(Rich::parse(&long).unwrap_err().kind, RichErrorKind::TooLong(long.len()));
    let wide = format!("(a{})", " or a".repeat(10_000));
    assert_eq!(Rich::parse(&wide).unwrap().to_string(), wide);
}

fn tree() -> impl Strategy<Value = String> {
    let leaf = proptest::sample::select(vec!["a", "b >= 1-1", "perl(C::D) < 2", "/bin/sh"]).prop_map(str::to_owned);
    leaf.prop_recursive(4, 24, 3, |inner| {
        let operator = proptest::sample::select(vec!["and", "or", "if", "unless", "with", "without"]);
        (operator, proptest::collection::vec(inner, 2..4)).prop_map(|(operator, operands)| {
            let operands = if operator == "without" { operands[..2].to_vec() } else { operands };
            match operator {
                "if" | "unless" if operands.len() == 3 => {
                    format!("({} {operator} {} else {})", operands[0], operands[1], operands[2])
                }
                _ => format!("({})", operands.join(&format!(" {operator} "))),
            }
        })
    })
}

proptest! {
    #[test]
    fn round_trip(text in tree()) {
        let text = if text.starts_with('(') { text } else { format!("({text})") };
        match Rich::parse(&text) {
            Ok(rich) => prop_assert_eq!(rich.to_string(), text),
            Err(error) => prop_assert_eq!(error.kind, RichErrorKind::IllegalInWith),
        }
    }

    #[test]
    fn any_text(words in proptest::collection::vec(
        proptest::sample::select(vec!["(", ")", " ", "a", "é", ",", ">=", " or ", " if ", " else ", " with "]), 0..30,
    )) {
        if let Ok(rich) = Rich::parse(&words.concat()) {
            prop_assert_eq!(Rich::parse(&rich.to_string()).unwrap(), rich);
        }
    }
}
