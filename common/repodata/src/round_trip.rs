//! Any package through records, writer and reader.

use proptest::prelude::*;
use tutti_rpm::Package;

use crate::record::tests::packages;
use crate::{
    ChecksumType, Compression, Entry, FileIdentity, FragmentOptions, Fragments, ReadOptions, RecordsReader,
    RecordsWriter, RepoPackage, Repository, WriterOptions, write_repository,
};

fn written_and_read(package: &Package, href: &str, base: Option<&str>) -> RepoPackage {
    let directory = tempfile::tempdir().unwrap();
    let records = directory.path().join("records");
    let identity = FileIdentity { size: 12, mtime: 34, checksum: ChecksumType::Sha224.hash(b"package") };
    let mut writer = RecordsWriter::create(&records).unwrap();
    let record = writer.add(package, &identity).unwrap();
    writer.seal().unwrap();
    let FileIdentity { size, mtime, checksum } = identity;
    let location_base = base.map(str::to_owned);
    let entry = Entry { record, location_href: href.to_owned(), location_base, mtime, checksum, size };
    let options = WriterOptions { compression: Compression::None, threads: 1, ..WriterOptions::default() };
    let source = RecordsReader::open(&records).unwrap();
    write_repository(directory.path(), &source, std::slice::from_ref(&entry), &[], &options).unwrap();
    let repository = Repository::open_local(directory.path()).unwrap();
    let mut read: Vec<_> = repository.packages(ReadOptions::default()).unwrap().map(Result::unwrap).collect();
    assert_eq!(read.len(), 1);
    let read = read.remove(0);
    assert_eq!((read.size, read.mtime, &read.checksum), (entry.size, entry.mtime, &entry.checksum));
    assert_eq!((&read.location_href, read.location_base.as_deref()), (&entry.location_href, base));
    read
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Metadata knows less than a header, but everything it shows comes back: the fragments of what was read are those
    /// of what was written, and reading them once more changes nothing.
    #[test]
    fn nothing_of_the_metadata_is_lost(
        mut package in packages(),
        href in "[^/\\PC]{1,20}(/[^/\\PC]{1,20})?",
        base in prop::option::of("https?://\\PC{1,20}"),
    ) {
        package.name.insert(0, 'n');
        package.arch.insert(0, 'a');
        let base = base.as_deref();
        prop_assume!(crate::location::check(&href).is_ok() && base.is_none_or(|base| crate::location::check_base(base).is_ok()));
        let read = written_and_read(&package, &href, base);
        let options = FragmentOptions::default();
        prop_assert_eq!(Fragments::make(&read.package, &options), Fragments::make(&package, &options));
        prop_assert_eq!(&written_and_read(&read.package, &href, base), &read);
        prop_assert_eq!(&read.package.name, &package.name);
        prop_assert_eq!(&read.package.files, &package.files);
        prop_assert_eq!(read.package.provides.len(), package.provides.len());
    }
}
