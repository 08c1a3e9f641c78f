//! Random facts of packages.

use super::header::{Header, Number};
use crate::chaos::Random;

/// Texts of one line.
const WORDS: [&[u8]; 12] = [
    b"plain",
    b"two words",
    "Jir\u{17e}\u{ed} \u{65e5}\u{672c}".as_bytes(),
    b"Ren\xe9 M\xfcller",
    b"a & b <c> \"d\" 'e'",
    b" spaces around ",
    b"tab\there",
    b"x",
    b"]]> &amp; &#10;",
    b"dash - dash",
    "\u{1f600}".as_bytes(),
    b"caf\xe9\xa0\xb5",
];
/// Texts of several lines.
const TEXTS: [&[u8]; 6] = [
    b"One line.",
    b"Two\nlines.\n",
    b"\n  indented\n\n  & <marked>\n",
    b"cr\r\nlf",
    "\u{17d}lu\u{165}ou\u{10d}k\u{fd} k\u{16f}\u{148}\n".as_bytes(),
    b"Fran\xe7ois\nd'\xe9t\xe9",
];
/// Names of dependencies.
const NAMES: [&[u8]; 18] = [
    b"bash",
    b"/bin/sh",
    b"/etc/odd.conf",
    b"/usr/share/doc",
    b"libc.so.6",
    b"libc.so.6(GLIBC_2.4)(64bit)",
    b"libc.so.6(GLIBC_2.17)(64bit)",
    b"libc.so.6()(64bit)",
    b"rpmlib(CompressedFileNames)",
    b"perl(Foo::Bar)",
    b"config(odd)",
    b"(a or b)",
    b"((a >= 1:2 with a < 3) if c else (d unless e))",
    b"font(:lang=cs)",
    b"pkgconfig(x & y)",
    b"Ren\xe9",
    b"libfoo.so.1()(64bit)",
    b"odd%{?_isa}",
];
const WEAK_NAMES: [&[u8]; 9] = [b"w0", b"w1", b"w2", b"w3", b"w4", b"w5", b"w6", b"w7", b"w8"];
const VERSIONS: [&[u8]; 12] = [
    b"1.0",
    b"1.0-1",
    b"0:1",
    b"1:2-3",
    b"12:0",
    b"1~rc1-0.1",
    b"2^git1-1.fc40",
    b"1.2.3",
    b"1_2+3",
    b"007",
    b"1:0-0",
    b"4.0.4-1",
];
/// Flags: senses, and bits of scripts. `<>` and its kin are left out (docs/createrepo-differences.md).
const SENSES: [u64; 6] = [0, 2, 4, 8, 10, 12];
const MARKS: [u64; 10] = [0, 0, 0, 1 << 5, 1 << 6, 1 << 7, 1 << 8, 1 << 9, 1 << 10, 1 << 14];
const MISSING_OK: u64 = 1 << 19;
const STRONG: u64 = 1 << 27;
const DIRECTORIES: [&[u8]; 10] = [
    b"/",
    b"/etc/",
    b"/usr/bin/",
    b"/usr/lib/",
    b"/usr/share/doc/odd/",
    b"/usr/share/a b/",
    b"/opt/R\xe9/",
    b"/usr/sbin/",
    "/usr/share/\u{e9}/".as_bytes(),
    b"/srv/<x>&/",
];

/// Of a file: no one looks.
const DIGEST: &[u8] = b"d41d8cd98f00b204e9800998ecf8427e";

fn pick<'a>(random: &mut Random, list: &[&'a [u8]]) -> &'a [u8] {
    list[random.below(list.len() as u64) as usize]
}

/// A binary package.
pub(super) fn package(random: &mut Random, header: &mut Header) {
    common(random, header, false);
    let count = random.below(30);
    files(random, header, count);
}

/// One as rpm 3 wrote it: whole paths, no region, no weak dependencies of today.
pub(super) fn old_package(random: &mut Random, header: &mut Header) {
    common(random, header, false);
    let count = 1 + random.below(20);
    let directories: Vec<&[u8]> = (0..count).map(|_| pick(random, &DIRECTORIES)).collect();
    let paths: Vec<Vec<u8>> = directories
        .iter()
        .enumerate()
        .map(|(number, directory)| [directory, format!("old{number}").as_bytes()].concat())
        .collect();
    header.strings(1027, &paths);
    attributes(random, header, paths.len());
}

/// One with a long file list and many dependencies.
pub(super) fn large_package(random: &mut Random, header: &mut Header) {
    common(random, header, false);
    files(random, header, 3000);
    list(random, header, (1047, 1112, 1113), 800, 0);
}

/// A source package, some with sources that are left out.
pub(super) fn source_package(random: &mut Random, header: &mut Header) {
    common(random, header, true);
    header.numbers(1106, Number::Word, &[1]);
    if random.below(3) == 0 {
        header.numbers(1051, Number::Word, &[0]);
    }
    let names: Vec<Vec<u8>> = (0..=random.below(4)).map(|number| format!("source{number}.tar").into_bytes()).collect();
    let count = names.len();
    header.strings(1117, &names);
    header.strings(1118, &[b""]);
    header.numbers(1116, Number::Word, &vec![0; count]);
    header.numbers(1030, Number::Short, &vec![0o100_644; count]);
    header.numbers(1037, Number::Word, &vec![0; count]);
    header.strings(1035, &vec![DIGEST; count]);
}

fn common(random: &mut Random, header: &mut Header, is_source: bool) {
    header.string(1001, [&b"1.0"[..], b"2~rc1", b"3^git", b"1_2+3"][random.below(4) as usize]);
    header.string(1002, [&b"1"[..], b"0.1.fc40", b"1.el9_2"][random.below(3) as usize]);
    match random.below(4) {
        0 => header.numbers(1003, Number::Word, &[0]),
        1 => header.numbers(1003, Number::Word, &[1 + random.below(1 << 20)]),
        _ => {}
    }
    texts(random, header);
    header.numbers(1006, Number::Word, &[random.below(1 << 32)]);
    header.string(1022, [&b"noarch"[..], b"x86_64", b"s390x"][random.below(3) as usize]);
    header.string(1021, b"linux");
    header.string(1124, b"cpio");
    header.string(1125, b"gzip");
    if !is_source {
        header.string(1044, b"odd-1.0-1.src.rpm");
    }
    match random.below(3) {
        0 => header.numbers(5009, Number::Long, &[random.below(1 << 42)]),
        _ => header.numbers(1009, Number::Word, &[random.below(1 << 32)]),
    }
    if random.below(3) == 0 {
        header.numbers(1046, Number::Word, &[random.below(1 << 32)]);
    }
    dependencies(random, header);
    changelogs(random, header);
}

/// Summary, description and group in several languages; the other texts there, missing, or odd.
fn texts(random: &mut Random, header: &mut Header) {
    let locales = 1 + random.below(3) as usize;
    header.strings(100, &[&b"C"[..], b"cs_CZ", b"de"][..locales]);
    for (tag, from) in [(1004, &WORDS[..]), (1005, &TEXTS[..]), (1016, &WORDS[..])] {
        let all: Vec<&[u8]> = (0..locales).map(|_| pick(random, from)).collect();
        header.translated(tag, &all);
    }
    for tag in [1007, 1011, 1014, 1015, 1020] {
        if random.below(4) > 0 {
            header.string(tag, pick(random, &WORDS));
        }
    }
}

fn dependencies(random: &mut Random, header: &mut Header) {
    let today = [
        (1047, 1112, 1113),
        (1049, 1048, 1050),
        (1054, 1053, 1055),
        (1090, 1114, 1115),
        (5046, 5048, 5047),
        (5049, 5051, 5050),
        (5052, 5054, 5053),
        (5055, 5057, 5056),
    ];
    for tags in today {
        let count = random.below(9);
        let further = if tags.0 == 1049 { MISSING_OK } else { 0 };
        list(random, header, tags, count, further);
    }
    // SUSE and Mandriva before rpm 4.12 (Tizen to this day): suggests and enhances, strong ones are what is recommended
    // and supplemented today.
    for tags in [(1156, 1158, 1157), (1159, 1161, 1160)] {
        if random.below(2) == 0 {
            let count = random.below(6);
            list(random, header, tags, count, STRONG);
        }
    }
}

/// A list of dependencies; some have the `further` flag.
fn list(random: &mut Random, header: &mut Header, tags: (u32, u32, u32), count: u64, further: u64) {
    let (mut names, mut flags, mut versions): (Vec<&[u8]>, Vec<u64>, Vec<&[u8]>) = (vec![], vec![], vec![]);
    for _ in 0..count {
        if !names.is_empty() && random.below(5) == 0 {
            // The same again, or with another version.
            names.push(names[names.len() - 1]);
        } else {
            names.push(pick(random, &NAMES));
        }
        let sense = SENSES[random.below(SENSES.len() as u64) as usize];
        let mark = MARKS[random.below(MARKS.len() as u64) as usize];
        let further = if random.below(4) == 0 { further } else { 0 };
        if further == MISSING_OK {
            // Nothing that is left out of requirements (docs/createrepo-differences.md).
            let last = names.len() - 1;
            names[last] = WEAK_NAMES[last % WEAK_NAMES.len()];
        }
        flags.push(sense | mark | further);
        versions.push(if sense == 0 { b"" } else { pick(random, &VERSIONS) });
    }
    header.strings(tags.0, &names);
    header.numbers(tags.1, Number::Word, &flags);
    header.strings(tags.2, &versions);
}

fn changelogs(random: &mut Random, header: &mut Header) {
    let count = random.below(25);
    let mut time = 1_700_000_000;
    let (mut times, mut authors, mut entries): (Vec<u64>, Vec<Vec<u8>>, Vec<&[u8]>) = (vec![], vec![], vec![]);
    for _ in 0..count {
        // Often several of one second.
        time -= 86_400 * random.below(2);
        times.push(time);
        let spaces = b"   ".split_at(random.below(3) as usize).0;
        authors.push([pick(random, &WORDS), b" <x@y> - 1-1", spaces].concat());
        entries.push(pick(random, &TEXTS));
    }
    header.numbers(1080, Number::Word, &times);
    header.strings(1081, &authors);
    header.strings(1082, &entries);
}

fn files(random: &mut Random, header: &mut Header, count: u64) {
    if count == 0 {
        return;
    }
    let names: Vec<Vec<u8>> = (0..count).map(|number| file_name(random, number)).collect();
    // rpm takes no list with more directories than files.
    let directories = &DIRECTORIES[..names.len().min(DIRECTORIES.len())];
    let indexes: Vec<u64> = (0..count).map(|_| random.below(directories.len() as u64)).collect();
    header.strings(1117, &names);
    header.strings(1118, directories);
    header.numbers(1116, Number::Word, &indexes);
    attributes(random, header, names.len());
}

/// Modes, flags and digests of files.
fn attributes(random: &mut Random, header: &mut Header, count: usize) {
    let modes: Vec<u64> =
        (0..count).map(|_| [0o040_755, 0o100_644, 0o120_777, 0o020_600][random.below(4) as usize]).collect();
    let flags: Vec<u64> = (0..count).map(|_| [0, 1, 64, 65][random.below(4) as usize]).collect();
    header.numbers(1030, Number::Short, &modes);
    header.numbers(1037, Number::Word, &flags);
    // createrepo_c lists no files without.
    header.strings(1035, &vec![DIGEST; count]);
}

fn file_name(random: &mut Random, number: u64) -> Vec<u8> {
    match random.below(12) {
        0 => b"odd.conf".to_vec(),
        1 => format!("file {number} & <more>").into_bytes(),
        2 => [b"R\xe9", number.to_string().as_bytes()].concat(),
        3 => format!("\u{17e}{number}").into_bytes(),
        4 if number == 0 => Vec::new(),
        5 => b"sendmail".to_vec(),
        _ => format!("file{number}").into_bytes(),
    }
}
