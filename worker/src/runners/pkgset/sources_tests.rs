use super::*;

#[test]
fn places_are_directories_or_urls() {
    let directory = |text: &str| Place::Directory(text.into());
    assert_eq!(Place::parse("/srv/a/").unwrap(), directory("/srv/a"));
    assert_eq!(Place::parse("file:///srv/a%20b/").unwrap(), directory("/srv/a b"));
    assert_eq!(Place::parse("file://localhost/srv").unwrap(), directory("/srv"));
    assert_eq!(Place::parse("https://h/a/").unwrap(), Place::Remote("https://h/a".into()));
    for text in ["srv/a", "", "ftp://h/a", "file://host/a", "file:///a%2", "file:///a%zz", "file:///%ff"] {
        assert!(Place::parse(text).unwrap_err().hint.is_some(), "{text}");
    }
}

#[test]
fn files_are_in_the_order_of_their_names() {
    let file = |name: &str, path: &str| SourceFile {
        path: path.into(),
        logical: format!("file:{path}").parse().unwrap(),
        name: name.into(),
        expected: None,
    };
    let mut collector = Collector::default();
    let listed = [
        collector.add(file("b.rpm", "/one/b.rpm"), (1, 1)).unwrap(),
        collector.add(file("a.rpm", "/two/a.rpm"), (1, 2)).unwrap(),
        collector.add(file("b.rpm", "/two/b.rpm"), (1, 1)).unwrap(),
        collector.add(file("a.rpm", "/one/a.rpm"), (1, 3)).unwrap(),
    ];
    let listing = sorted(collector.files, BTreeMap::from([("x86_64".to_owned(), listed.to_vec())]));
    let paths: Vec<_> = listing.files.iter().map(|file| file.path.to_str().unwrap()).collect();
    assert_eq!(paths, ["/one/a.rpm", "/two/a.rpm", "/one/b.rpm"]);
    assert_eq!(listing.by_arch["x86_64"], [2, 1, 2, 0]);
}
