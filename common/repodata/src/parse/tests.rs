use super::*;
use crate::checksum::ChecksumType;
use crate::fragment::{Fill, FragmentOptions, Fragments, MetadataFile};
use crate::record::tests::packages;
use proptest::prelude::*;

fn items<S: ListState>(text: &[u8]) -> Result<Vec<S::Item>, RepositoryError> {
    let mut reader = ListReader::<_, S>::new("test.xml", text);
    std::iter::from_fn(|| reader.next().transpose()).collect()
}

#[test]
fn foreign_elements_are_skipped() {
    let text = b"<x:filelists xmlns:x='y'><extra pkgid='1'><file>/no</file></extra>\
        <package pkgid='AB' name='n'><deep><file>/no</file></deep><file type='dir'>/a&amp;<![CDATA[<b>]]></file>\
        <!-- c --><file></file></package></x:filelists>";
    let files = vec![FileEntry { path: "/a&<b>".into(), kind: FileKind::Directory }];
    assert_eq!(items::<Filelists>(text).unwrap(), [("ab".to_owned(), files)]);
    assert!(items::<Filelists>(b"<otherdata/>").is_err());
    assert!(items::<Filelists>(b"").is_err());
    assert!(items::<Filelists>(b"<filelists/><filelists/>").is_err());
}

proptest! {
    #[test]
    fn damaged_lists_never_panic(package in packages(), changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let checksum = ChecksumType::Md5.hash(b"");
        let fill = Fill { checksum: &checksum, mtime: 1, size: 2, location_href: "a", location_base: None };
        let fragments = Fragments::make(&package, &FragmentOptions::default()).unwrap();
        for (file, root) in MetadataFile::ALL.into_iter().zip([Primary::ROOT, Filelists::ROOT, Other::ROOT]) {
            let mut text = format!("<{root}>").into_bytes();
            fragments.get(file).render(&fill, &mut text);
            text.extend_from_slice(format!("</{root}>").as_bytes());
            for (at, byte) in &changes {
                let at = at.index(text.len());
                text[at] = *byte;
            }
            let _ = items::<Primary>(&text);
            let _ = items::<Filelists>(&text);
            let _ = items::<Other>(&text);
        }
    }
}
