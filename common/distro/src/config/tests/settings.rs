//! Typed settings: defaults, lookups, paths.

use std::path::Path;

use super::{Files, MINIMAL, settings};
use crate::config::{
    Compression, FileSource, GatherMethod, GatherSource, GreedyMethod, LinkType, MultilibMethod, Pattern, RepoLocation,
    ScmKind, Settings, Strictness, dump,
};

#[test]
fn defaults_are_filled_in() {
    let settings = settings("");
    assert_eq!(settings.release.kind, "ga");
    assert_eq!(settings.link_type, LinkType::HardlinkOrCopy);
    assert_eq!(settings.gather.greedy, GreedyMethod::None);
    assert_eq!(settings.pkgset.sigkeys, [None]);
    assert_eq!(settings.media_checksums.types.len(), 3);
    assert_eq!(settings.createrepo.num_workers, 3);
    assert_eq!(settings.createrepo.num_threads, None);
    assert!(settings.gather.check_deps && settings.comps_filter_environments);
    assert!(settings.base_product.is_none() && settings.comps_file.is_none());
    assert_eq!(settings.repoclosure("Server", "x86_64"), Strictness::Lenient);
}

#[test]
fn paths_are_relative_to_the_main_configuration() {
    let files = Files::new(&[
        ("conf/main.conf", &format!("{MINIMAL}from ../shared/common import *")),
        (
            "shared/common.conf",
            "comps_file = {'scm': 'file', 'repo': None, 'file': 'comps.xml'}
pkgset_repos = {'x86_64': ['r', '/abs', 'https://example.com/r', {'baseurl': 'd', 'exclude': 'x*'}, {'baseurl': 'e', 'enabled': False}], '*': 'all'}
gather_lookaside_repos = [('^.*$', {'*': 'look'})]",
        ),
    ]);
    let settings = files.load("conf/main.conf").expect("valid").settings;
    let base = files.path("conf");
    assert_eq!(settings.variants_file, FileSource::Path(base.join("variants.xml")));
    let Some(FileSource::Scm(scm)) = &settings.comps_file else { super::fail("comps_file", &"not an scm") };
    assert_eq!(scm.scm, ScmKind::File);
    assert_eq!(scm.file, [base.join("comps.xml").display().to_string()]);
    let repos = settings.pkgset.repos.lists("x86_64");
    let places: Vec<RepoLocation> = repos.iter().map(|repo| repo.location.clone()).collect();
    assert_eq!(
        places,
        [
            RepoLocation::Path(base.join("r")),
            RepoLocation::Path("/abs".into()),
            RepoLocation::Url("https://example.com/r".into()),
            RepoLocation::Path(base.join("d")),
            RepoLocation::Path(base.join("all")),
        ]
    );
    assert_eq!(repos[3].exclude, ["x*"]);
    assert!(settings.pkgset.repos.lists("src").is_empty(), "* is never src");
    let lookaside = settings.gather.lookaside_repos.lists("Server", "s390x");
    assert_eq!(lookaside, [RepoLocation::Path(base.join("look"))]);
}

#[test]
fn all_matching_entries_count_in_order() {
    let settings = settings(
        "additional_packages = [
    ('^.*$', {'*': ['a', 'b'], 'x86_64': 'c'}),
    ('Server', {'src': 's', '*': ['d']}),
    ('^Client$', {'*': 'e'}),
    ('ver', {'*': 'never: not at the start'}),
]
multilib = [('^Server$', {'x86_64': ['devel', 'runtime']})]
failable_deliverables = [('^Server', {'s390x': ['createrepo', 'iso'], 'src': 'link'})]
repoclosure_strictness = [('^.*$', {'*': 'fatal'}), ('^Server$', {'s390x': 'off'})]
",
    );
    let packages = &settings.gather.additional_packages;
    assert_eq!(packages.lists("Server", "x86_64"), ["a", "b", "c", "d"]);
    assert_eq!(packages.lists("Server-optional", "s390x"), ["a", "b", "d"]);
    assert_eq!(packages.lists("Server", "src"), ["s"]);
    assert_eq!(packages.lists("Client", "src"), Vec::<String>::new());
    assert_eq!(packages.last("Client", "x86_64").map(String::as_str), Some("e"));
    assert!(settings.is_multilib("x86_64") && !settings.is_multilib("s390x"));
    assert_eq!(settings.gather.multilib.lists("Server", "x86_64"), [MultilibMethod::Devel, MultilibMethod::Runtime]);
    assert!(settings.is_failable("Server", "s390x", "iso"));
    assert!(settings.is_failable("Server-optional", "src", "link"));
    assert!(!settings.is_failable("Server", "x86_64", "iso"));
    assert!(!settings.is_failable("Server", "s390x", "is"));
    assert_eq!(settings.repoclosure("Server", "s390x"), Strictness::Off);
    assert_eq!(settings.repoclosure("Server", "src"), Strictness::Lenient);
    assert_eq!(settings.repoclosure("Client", "s390x"), Strictness::Fatal);
}

#[test]
fn the_last_matching_gather_method_counts() {
    let by_variant = settings(
        "gather_method = {
    '^.*$': {'comps': 'deps', 'module': 'nodeps'},
    '^Everything$': {'comps': 'nodeps'},
}",
    );
    let method = &by_variant.gather.method;
    assert_eq!(method.method("Everything", GatherSource::Comps), Some(GatherMethod::Nodeps));
    assert_eq!(method.method("Everything", GatherSource::Module), None);
    assert_eq!(method.method("Server", GatherSource::Module), Some(GatherMethod::Nodeps));
    assert_eq!(method.method("Server", GatherSource::Json), None);
    let global = settings("gather_method = 'nodeps'");
    assert_eq!(global.gather.method.method("X", GatherSource::Json), Some(GatherMethod::Nodeps));
}

#[test]
fn local_paths_become_urls_by_whole_components() {
    let settings =
        settings("translate_paths = [('/mnt/koji/', 'https://k.example.com/'), ['/mnt', 'https://m.example.com/x']]");
    let url = |path: &str| settings.translate_path(Path::new(path));
    assert_eq!(url("/mnt/koji/a/b").as_deref(), Some("https://k.example.com/a/b"));
    assert_eq!(url("/mnt/kojifiles").as_deref(), Some("https://m.example.com/x/kojifiles"));
    assert_eq!(url("/srv"), None);
}

#[test]
fn createrepo_arguments() {
    let settings = settings(
        "createrepo_extra_args = ['--distro=cpe:/o:x:35,X Linux 35', '--distro', 'Y', '--general-compress-type=zstd', '--compatibility', '--skip-stat', '--revision=7', '--changelog-limit=-1']",
    );
    let extra = settings.createrepo.extra;
    assert_eq!(extra.distro, [(Some("cpe:/o:x:35".into()), "X Linux 35".into()), (None, "Y".into())]);
    assert_eq!(extra.general_compress_type, Some(Compression::Zstd));
    assert_eq!((extra.revision.as_deref(), extra.changelog_limit), (Some("7"), Some(-1)));
    assert!(extra.compatibility);
}

#[test]
fn the_most_explicit_compression_counts() {
    let compression = |text: &str| settings(text).createrepo.compression();
    assert_eq!(compression(""), None);
    assert_eq!(compression("createrepo_use_xz = True"), Some(Compression::Xz));
    assert_eq!(
        compression("createrepo_use_xz = True\ncreaterepo_extra_args = ['--compatibility']"),
        Some(Compression::Gz)
    );
    assert_eq!(
        compression("createrepo_extra_args = ['--compatibility', '--general-compress-type=zstd']"),
        Some(Compression::Zstd)
    );
}

#[test]
fn databases_are_made_where_they_are_asked_for() {
    let compression = |text: &str| settings(text).createrepo.database_compression();
    assert_eq!(compression(""), None);
    assert_eq!(compression("createrepo_extra_args = ['--compatibility']"), None, "Pungi says --no-database");
    assert_eq!(compression("createrepo_database = True"), Some(Compression::Bz2));
    assert_eq!(compression("createrepo_extra_args = ['--no-database', '-d']"), Some(Compression::Bz2));
    let both = "createrepo_database = True\ncreaterepo_use_xz = True\n";
    assert_eq!(compression(both), Some(Compression::Xz));
    let general = format!("{both}createrepo_extra_args = ['--general-compress-type=gz']");
    assert_eq!(compression(&general), Some(Compression::Gz));
}

#[test]
fn sigkeys_are_lower_case_and_empty_means_unsigned() {
    assert_eq!(settings("sigkeys = ['A15B', '', None]").pkgset.sigkeys, [Some("a15b".into()), None, None]);
}

#[test]
fn settings_survive_json() {
    let settings = settings(
        "gather_method = {'^.*$': {'comps': 'deps'}}\nadditional_packages = [('^S', {'*': 'a'})]\ncomps_file = {'scm': 'git', 'repo': 'u', 'file': 'c', 'options': {'credential_helper': 'x'}}",
    );
    let text = serde_json::to_string(&settings).expect("serializes");
    let back: Settings = serde_json::from_str(&text).expect("deserializes");
    assert_eq!(back, settings);
}

#[test]
fn the_dump_is_a_configuration() {
    let files = Files::minimal(
        "tree_arches = ('x86_64',)\nfilter_packages = [('^.*$', {'*': ['a']})]\nunknown = 1\nkoji_profile = 'k'\n",
    );
    let loaded = files.load("c.conf").expect("valid");
    let dumped = dump(&loaded);
    assert_eq!(dumped["tree_arches"], serde_json::json!(["x86_64"]));
    assert_eq!(dumped["createrepo_num_workers"], serde_json::json!(3));
    assert_eq!(dumped["koji_profile"], serde_json::json!("k"));
    assert!(dumped.get("unknown").is_none());
    std::fs::write(files.path("d.json"), dumped.to_string()).expect("written");
    let again = files.load("d.json").expect("valid");
    assert_eq!(again.settings, loaded.settings);
    assert_eq!(dump(&again), dumped);
}

#[test]
fn json_configurations() {
    let files = Files::new(&[
        ("dup.json", "{\"a\": 1,\n \"a\": 2}"),
        ("list.json", "[1]"),
        ("tail.json", "{} x"),
        ("open.json", "{\"a\": [1, 2"),
        ("big.json", "{\"a\": 99999999999999999999}"),
        ("type.json", "{\n\"release_name\": 5}"),
        ("deep.json", &"[".repeat(100_000)),
        ("string.json", "{\"a\": \"\\q\"}"),
        ("word.json", "{\"a\": True}"),
    ]);
    let each = ["dup", "list", "tail", "open", "big", "deep", "string", "word"];
    let errors = each.map(|name| files.check(&format!("{name}.json")).errors.join("\n"));
    insta::assert_snapshot!(errors.join("\n"), @r#"
    dup.json:2:2: duplicate key "a"
    list.json:1:1: expected an object of options
    tail.json:1:4: expected the end of the file
    open.json:1:12: expected ',' or ']'
    big.json:1:7: number 99999999999999999999 is too large
    deep.json:1:66: values nested more than 64 deep
    string.json:1:7: string contains a bad escape or a control character
    word.json:1:7: expected a JSON value
    "#);
    let types = files.check("type.json").errors;
    assert!(
        types.contains(
            &"type.json:2: release_name: expected a string, found the number 5; write it in quotes".to_owned()
        ),
        "{types:?}"
    );
}

#[test]
fn patterns_are_pythons() {
    let matches = |pattern: &str, text: &str| Pattern::new(pattern).expect("valid").matches(text);
    assert!(matches("Server", "Server-optional"));
    assert!(!matches("erver", "Server"));
    assert!(matches("a|b", "bc"));
    assert!(!matches("a|b", "cb"));
    assert!(matches(r"Server\Z", "Server") && !matches(r"Server\Z", "Server1"));
    assert!(matches("[[]x[]&&]+$", "[x]&"));
    assert!(matches("(?i)server", "SERVER"));
    assert!(matches(r"(?P<n>S\w+)-\d+$", "Sé-3"));
    let errors = [
        "(?!a)",
        "(?=a)",
        "(?<=a)b",
        "(?<!a)b",
        r"(a)\1",
        "(?P<n>a)(?P=n)",
        "(a",
        "[a",
        "\\",
        "(?#x)a",
        "(?:a{1000}){1000}",
    ]
    .map(|pattern| Pattern::new(pattern).expect_err(pattern).to_string());
    insta::assert_snapshot!(errors.join("\n"), @r#"
    regular expression "(?!a)": look-ahead is not supported; list the wanted variants, e.g. ^(Server|Client)$
    regular expression "(?=a)": look-ahead is not supported; list the wanted variants, e.g. ^(Server|Client)$
    regular expression "(?<=a)b": look-behind is not supported
    regular expression "(?<!a)b": look-behind is not supported
    regular expression "(a)\\1": references to groups (\1) are not supported
    regular expression "(?P<n>a)(?P=n)": references to groups (?P=…) are not supported
    regular expression "(a": unclosed group
    regular expression "[a": unclosed character class
    regular expression "\\": ends with a backslash
    regular expression "(?#x)a": comments (?#…) are not supported
    regular expression "(?:a{1000}){1000}": Compiled regex exceeds size limit of 262144 bytes.
    "#);
    assert!(Pattern::new(&"(".repeat(4000)).is_err());
}
