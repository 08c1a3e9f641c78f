//! The same questions put to rpm itself: order of versions, overlap of ranges, grammar of rich dependencies.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests may panic")]

mod support;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::{Command, Stdio};

use tutti_rpm::{Evr, FileKind, HeaderReader, Package, Rich, Sense, ranges_overlap};

const PYTHONS: [&str; 2] = ["/usr/bin/python3", "python3"];

/// Deterministic numbers below `limit` (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % limit
    }

    fn text(&mut self, parts: &[&str], longest: usize) -> String {
        let length = 1 + self.below(longest);
        (0..length).map(|_| parts[self.below(parts.len())]).collect()
    }

    fn evr(&mut self) -> String {
        let epoch = ["", "", "0:", "1:", "12:"][self.below(5)];
        let version = self.text(&["0", "1", "2", "01", ".", "a", "~", "^", "_"], 4);
        let release = if self.below(2) == 0 { String::new() } else { format!("-{}", 1 + self.below(3)) };
        format!("{epoch}{version}{release}")
    }
}

#[test]
fn version_order() {
    let Some(python) = support::python_with("rpm", &PYTHONS) else { return };
    let mut random = Random(0x7477_7474_6969);
    let parts = ["0", "1", "10", "001", "a", "b", "Z", ".", "-", "_", "+", "~", "^", "é", "rc"];
    let pairs: Vec<_> = (0..20_000).map(|_| (random.text(&parts, 6), random.text(&parts, 6))).collect();
    let program = "import rpm, sys\nfor line in sys.stdin:\n a, b = line.rstrip('\\n').split(' ')\n print(rpm.labelCompare(('0', a, '1'), ('0', b, '1')))";
    let input: String = pairs.iter().map(|(a, b)| format!("{a} {b}\n")).collect();
    let output = support::run_python(&python, program, &input);
    assert_eq!(output.lines().count(), pairs.len());
    for ((a, b), answer) in pairs.iter().zip(output.lines()) {
        let expected = answer.parse::<i32>().unwrap().cmp(&0);
        assert_eq!(tutti_rpm::version_compare(a, b), expected, "{a} {b}");
    }
}

#[test]
fn range_overlap() {
    let Some(python) = support::python_with("rpm", &PYTHONS) else { return };
    let mut random = Random(0x6f76_6572_6c61);
    let cases: Vec<_> = (0..20_000)
        .map(|_| (Sense::ALL[random.below(5)], random.evr(), Sense::ALL[random.below(5)], random.evr()))
        .collect();
    let program = "import rpm, sys\nfor line in sys.stdin:\n f, a, g, b = line.split()\n print(int(rpm.ds(('n', int(f), a), rpm.RPMTAG_PROVIDENAME).Compare(rpm.ds(('n', int(g), b), rpm.RPMTAG_REQUIRENAME))))";
    let input: String = cases.iter().map(|(f, a, g, b)| format!("{} {a} {} {b}\n", f.bits(), g.bits())).collect();
    let output = support::run_python(&python, program, &input);
    assert_eq!(output.lines().count(), cases.len());
    let mut hits = 0;
    for ((f, a, g, b), answer) in cases.iter().zip(output.lines()) {
        let overlap = ranges_overlap(Some(&(*f, Evr::parse(a))), Some(&(*g, Evr::parse(b))));
        assert_eq!(overlap, answer == "1", "n {f} {a} against n {g} {b}");
        hits += usize::from(overlap);
    }
    assert!(hits > 1000 && hits < 19_000);
}

#[test]
fn real_versions_sort_as_rpm_sorts_them() {
    let Some(rpms) = support::rpms() else { return };
    let Some(python) = support::python_with("rpm", &PYTHONS) else { return };
    let mut evrs: Vec<Evr> = support::packages(&rpms)
        .iter()
        .map(|(_, expected)| {
            let text = |key: &str| expected[key].as_str().unwrap().to_owned();
            let epoch = expected["epoch"].as_u64().map(|epoch| u32::try_from(epoch).unwrap());
            Evr { epoch, version: text("version"), release: text("release") }
        })
        .collect();
    evrs.sort_by_cached_key(Evr::sort_key);
    let program = "import rpm, sys\nfor line in sys.stdin:\n w = line.split()\n print(rpm.labelCompare(tuple(w[:3]), tuple(w[3:])))";
    let mut input = String::new();
    for pair in evrs.windows(2) {
        for evr in pair {
            write!(input, "{} {} {} ", evr.epoch_number(), evr.version, evr.release).unwrap();
        }
        input.push('\n');
    }
    let output = support::run_python(&python, program, &input);
    for (pair, answer) in evrs.windows(2).zip(output.lines()) {
        let expected = pair[0].compare(&pair[1]);
        assert_ne!(expected, Ordering::Greater);
        assert_eq!(answer.parse::<i32>().unwrap().cmp(&0), expected, "{} {}", pair[0], pair[1]);
    }
}

/// Rich dependencies that rpmbuild takes or refuses in `Requires`, apart from its rules on mixing `if` with `or` and
/// `unless` with `and`, which depend on the tag.
const RICH: [&str; 33] = [
    "(a)",
    "((a))",
    "(a or b)",
    "(a and b and c)",
    "(a or b and c)",
    "(a or (b and c))",
    "(a if b)",
    "(a if b else c)",
    "(a if b if c)",
    "(a if b else c else d)",
    "(a if b else c and d)",
    "(a if b and c)",
    "(a unless b)",
    "(a with b with c)",
    "(a with b without c)",
    "(a without b)",
    "(a without b without c)",
    "(a with (b or c))",
    "(a with (b and c))",
    "(a with (b if c))",
    "(a with (b with c))",
    "(a with (b or (c and d)))",
    "(a >= 1:2-3 with a < 2)",
    "(a >=)",
    "(a >= )",
    "(a b)",
    "(a nor b)",
    "()",
    "(a or )",
    "(a or b",
    "(perl(Foo::Bar) >= 1 or lib.so.1()(64bit))",
    "( a  or   b )",
    "(a,or b)",
];

/// A rich dependency that is right more often than not.
fn random_rich(random: &mut Random, depth: usize) -> String {
    let operand = |random: &mut Random| match random.below(if depth == 0 { 6 } else { 10 }) {
        0 => "b >= 1".to_owned(),
        1 => "perl(C)".to_owned(),
        2 if random.below(8) == 0 => String::new(),
        2..6 => "a".to_owned(),
        _ => random_rich(random, depth - 1),
    };
    let operator = |random: &mut Random| ["and", "or", "if", "unless", "with", "without"][random.below(6)];
    let first = operator(random);
    let mut text = format!("({} {first} {}", operand(random), operand(random));
    if random.below(3) == 0 {
        let next = match first {
            "if" | "unless" if random.below(4) > 0 => "else",
            _ if random.below(4) > 0 => first,
            _ => operator(random),
        };
        text += &format!(" {next} {}", operand(random));
    }
    text + ")"
}

#[test]
fn rich_grammar() {
    if Command::new("rpmspec").arg("--version").stdout(Stdio::null()).status().is_err() {
        return support::skip("rpmspec");
    }
    let directory = tempfile::tempdir().unwrap();
    let mut random = Random(0x7269_6368);
    let mut texts = RICH.map(str::to_owned).to_vec();
    texts.extend((0..150).map(|_| random_rich(&mut random, 2)));
    let mut accepted = 0;
    for text in texts {
        let spec = directory.path().join("rich.spec");
        std::fs::write(
            &spec,
            format!("Name: rich\nVersion: 1\nRelease: 1\nSummary: x\nLicense: x\nRequires: {text}\n%description\nx\n"),
        )
        .unwrap();
        let output = Command::new("rpmspec").args(["-q", "--requires"]).arg(&spec).output().unwrap();
        let theirs = String::from_utf8_lossy(&output.stderr);
        // Refused for its place in a requirement, not for its form.
        if theirs.contains("Illegal context") {
            continue;
        }
        let ours = Rich::parse(&text);
        assert_eq!(ours.is_ok(), output.status.success(), "{text}: {ours:?}, rpmspec: {theirs}");
        accepted += usize::from(ours.is_ok());
    }
    println!("{accepted} accepted");
    assert!(accepted > 40);
    // The one intended difference.
    assert!(Rich::parse("(a else b)").is_err());
}

#[test]
fn signing_keys_are_those_rpm_shows() {
    let Some(rpms) = support::rpms() else { return };
    let format = "%{RSAHEADER:pgpsig}|%{DSAHEADER:pgpsig}|%{SIGPGP:pgpsig}|%{SIGGPG:pgpsig}\n";
    let signed: Vec<_> = support::packages(&rpms)
        .into_iter()
        .filter(|(_, value)| !value["sig"].as_array().unwrap().is_empty())
        .collect();
    let mut seen = BTreeMap::new();
    for (path, _) in &signed {
        let command = Command::new("rpm").args(["-qp", "--nosignature", "--qf", format]).arg(path).output();
        let Ok(output) = command else { return support::skip("rpm") };
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let Some((_, key)) = text.split_once("Key ID ") else { continue };
        let key = HeaderReader::default().package(path).unwrap().signing_key.map(|ours| (ours, key[8..16].to_owned()));
        let Some((ours, theirs)) = key else { panic!("{}: no key, rpm says {text}", path.display()) };
        assert_eq!(ours, theirs, "{}", path.display());
        // The algorithm, and whether there is a signature of header and payload besides that of the header.
        let algorithm = text.split('|').find_map(|one| one.split_once('/')).unwrap().0.trim().to_owned();
        let count = text.matches("Key ID ").count();
        *seen.entry((algorithm, count)).or_insert(0) += 1;
    }
    println!("{seen:?} of {} signed packages", signed.len());
    for algorithm in ["RSA", "DSA", "EdDSA"] {
        for count in [1, 2] {
            assert!(seen.contains_key(&(algorithm.to_owned(), count)), "{algorithm} {count}: {seen:?}");
        }
    }
    assert!(seen.values().sum::<usize>() > 100);
}

/// What the metadata of repositories and rpms.json are made of, in rpm's words.
const FACTS: &str = "@%{NAME}\t%{EPOCHNUM}\t%{VERSION}\t%{RELEASE}\t%{ARCH}\t%{SOURCERPM}\t%{BUILDTIME}\t%{LONGSIZE}\n\
    [x%{EXCLUSIVEARCH}\n][e%{EXCLUDEARCH}\n][f%{FILEMODES:octal} %{FILEFLAGS} %{FILENAMES}\n]\
    [p%{PROVIDENAME}\t%{PROVIDEFLAGS}\t%{PROVIDEVERSION}\n][r%{REQUIRENAME}\t%{REQUIREFLAGS}\t%{REQUIREVERSION}\n]\
    [c%{CHANGELOGTIME}\n]";
/// RPMSENSE_MISSINGOK.
const MISSING_OK: u32 = 1 << 19;

/// A package in the same words.
fn told(package: &Package) -> String {
    let arch = if package.is_source() { "-" } else { &package.arch };
    let source = package.source_rpm.as_deref().unwrap_or("(none)");
    let Package { name, evr, build_time, installed_size, .. } = package;
    let mut text = format!(
        "@{name}\t{}\t{}\t{}\t{arch}\t{source}\t{build_time}\t{installed_size}\n",
        evr.epoch_number(),
        evr.version,
        evr.release
    );
    package.exclusive_arch.iter().for_each(|arch| writeln!(text, "x{arch}").unwrap());
    package.exclude_arch.iter().for_each(|arch| writeln!(text, "e{arch}").unwrap());
    package.files.iter().for_each(|file| writeln!(text, "f{:?} {}", file.kind, file.path).unwrap());
    for (letter, list) in [('p', &package.provides), ('r', &package.requires), ('w', &package.recommends)] {
        for dependency in list {
            writeln!(text, "{letter}{} {:?}", dependency.name, dependency.range).unwrap();
        }
    }
    package.changelogs.iter().for_each(|entry| writeln!(text, "c{}", entry.time).unwrap());
    text
}

/// What rpm tells of a package, in the words of [`told`].
fn heard(text: &str, is_source: bool) -> String {
    let mut out = String::new();
    let mut weak = String::new();
    let mut times = String::new();
    for line in text.lines() {
        let (letter, rest) = line.split_at(1);
        match letter {
            "@" if is_source => {
                let mut words: Vec<&str> = rest.split('\t').collect();
                words[4] = "-";
                writeln!(out, "@{}", words.join("\t")).unwrap();
            }
            "f" => {
                let mut words = rest.splitn(3, ' ');
                let mode = u32::from_str_radix(words.next().unwrap(), 8).unwrap();
                let flags: u32 = words.next().unwrap().parse().unwrap();
                let kind = match (mode & 0o170_000, flags & 1 << 6) {
                    (0o040_000, _) => FileKind::Directory,
                    (_, 0) => FileKind::File,
                    _ => FileKind::Ghost,
                };
                writeln!(out, "f{kind:?} {}", words.next().unwrap()).unwrap();
            }
            "p" | "r" => {
                let words: Vec<&str> = rest.split('\t').collect();
                let flags: u32 = words[1].parse().unwrap();
                let range = Sense::from_bits(flags).map(|sense| {
                    let mut evr = Evr::parse(words[2]);
                    evr.epoch = evr.epoch.filter(|epoch| *epoch != 0);
                    (sense, evr)
                });
                let missing_ok = letter == "r" && flags & MISSING_OK != 0;
                let (to, letter) = if missing_ok { (&mut weak, "w") } else { (&mut out, letter) };
                writeln!(to, "{letter}{} {range:?}", words[0]).unwrap();
            }
            "c" => writeln!(times, "{line}").unwrap(),
            _ => writeln!(out, "{line}").unwrap(),
        }
    }
    out + &weak + &times
}

#[test]
fn facts_are_those_rpm_tells() {
    let Some(rpms) = support::rpms() else { return };
    let packages = support::packages(&rpms);
    let mut command = Command::new("rpm");
    command.env("LC_ALL", "C.UTF-8").args(["-qp", "--nosignature", "--nodigest", "--qf", FACTS]);
    let Ok(output) = command.args(packages.iter().map(|(path, _)| path)).output() else {
        return support::skip("rpm");
    };
    // Each begins with a line of its own; no package has a file of several lines.
    let mut records: Vec<Vec<u8>> = Vec::new();
    for line in output.stdout.split_inclusive(|byte| *byte == b'\n') {
        match records.last_mut() {
            Some(record) if line.first() != Some(&b'@') => record.extend_from_slice(line),
            _ => records.push(line.to_vec()),
        }
    }
    assert_eq!(records.len(), packages.len());
    let (mut compared, mut six) = (0, 0);
    for ((path, _), record) in packages.iter().zip(&records) {
        // Names in other encodings are told as they are.
        let Ok(text) = std::str::from_utf8(record) else { continue };
        let mut package = HeaderReader::default().package(path).unwrap();
        let file = HeaderReader::default().read(path).unwrap();
        // Recommendations of today have a tag of their own.
        let own = file.header().raw_strings(tutti_rpm::tag::main::RECOMMEND_NAME).unwrap().len();
        let old = file.header().raw_strings(tutti_rpm::tag::main::OLD_SUGGEST_NAME).unwrap().len();
        if own + old > 0 {
            package.recommends.clear();
        }
        let theirs = heard(text, package.is_source());
        let theirs: String =
            theirs.split_inclusive('\n').filter(|line| own + old == 0 || !line.starts_with('w')).collect();
        assert_eq!(told(&package), theirs, "{}", path.display());
        compared += 1;
        six += usize::from(file.header().contains(tutti_rpm::tag::main::RPM_FORMAT));
    }
    println!("{compared} compared, {six} of the format of rpm 6");
    assert!(compared > 600 && six > 10);
}
