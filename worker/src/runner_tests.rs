use super::*;
use tutti_job::{Input, LogicalPath, OutputSpec, Root};

/// The context of a job that has one input, a file output and a tree output.
fn context(directory: &Path, input: &[u8]) -> JobContext {
    let mut volumes = Volumes::new(directory);
    volumes.staging = Some(directory.join("work/tutti/staging/j1-a1-0000000000000001"));
    let digest = Digest::of(input);
    let blob = volumes.blob(&digest);
    fs::create_dir_all(blob.parent().unwrap()).unwrap();
    fs::write(&blob, input).unwrap();
    let target = LogicalPath::new(Root::Compose, "a").unwrap();
    let outputs = vec![OutputSpec::file("one/x"), OutputSpec::directory("tree", &target)];
    let spec = JobSpec::new(JobKind::Trim, &(), vec![Input::new("in", digest)], outputs).unwrap();
    JobContext::detached(spec, volumes, 1)
}

/// A runner like any: copies its input to its file output and makes a small tree.
fn example(context: &JobContext) -> Result<Vec<Output>, RunnerError> {
    let bytes = context.input_bytes("in")?;
    let file = context.write_file("one/x", &bytes)?;
    let tree = context.output_tree("tree")?;
    fs::create_dir_all(tree.join("b/empty")).or_fail(FailureClass::Tool, || "make tree")?;
    fs::write(tree.join("b/file"), &bytes).or_fail(FailureClass::Tool, || "write tree")?;
    std::os::unix::fs::symlink("b/file", tree.join("a")).or_fail(FailureClass::Tool, || "link")?;
    let manifest = context.scan_tree(&tree)?;
    Ok(vec![file, context.finish_tree("tree", &manifest)?])
}

#[test]
fn a_runner_reads_inputs_and_makes_outputs() {
    let directory = tempfile::tempdir().unwrap();
    let context = context(directory.path(), b"hello");
    let outputs = example(&context).unwrap();
    assert_eq!((outputs[0].digest, outputs[0].size), (Digest::of(b"hello"), 5));
    assert_eq!(context.finish_file("one/x").unwrap(), outputs[0]);
    let staging = context.volumes.staging.clone().unwrap();
    let bytes = fs::read(staging.join("manifests/tree")).unwrap();
    assert_eq!(Digest::of(&bytes), outputs[1].digest);
    let manifest = Manifest::decode_checked(&bytes).unwrap();
    let paths: Vec<_> = manifest.entries.iter().map(|entry| (entry.path.as_str(), entry.kind())).collect();
    assert_eq!(paths, [("a", EntryKind::Symlink), ("b/empty", EntryKind::Directory), ("b/file", EntryKind::File)]);
    assert_eq!(context.counters.snapshot()["input_read_bytes"], 5);
}

#[test]
fn damaged_and_missing_inputs_are_infra_failures() {
    let directory = tempfile::tempdir().unwrap();
    let context = context(directory.path(), b"hello");
    let path = context.input_path("in").unwrap();
    fs::write(&path, b"hallo").unwrap();
    let error = context.input_bytes("in").unwrap_err();
    assert!(error.class == FailureClass::Infra && error.hint.is_some(), "{error:?}");
    assert_eq!(context.verify_input("in").unwrap_err().class, FailureClass::Infra);
    fs::remove_file(&path).unwrap();
    assert_eq!(context.input_bytes("in").unwrap_err().class, FailureClass::Infra);
    assert_eq!(context.input_bytes("out").unwrap_err().class, FailureClass::Tool);
}

#[test]
fn outputs_that_the_spec_does_not_have_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let context = context(directory.path(), b"");
    assert!(context.output_path("../../x").is_err());
    assert!(context.output_path("tree").is_err());
    assert!(context.output_tree("one/x").is_err());
    let unsorted = Manifest { entries: vec![Entry { path: "../x".into(), ..Entry::default() }] };
    assert!(context.finish_tree("tree", &unsorted).is_err());
}

#[test]
fn copies_keep_their_time() {
    let directory = tempfile::tempdir().unwrap();
    let context = context(directory.path(), b"");
    let source = directory.path().join("p.rpm");
    fs::write(&source, b"rpm").unwrap();
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    fs::File::options().write(true).open(&source).unwrap().set_modified(time).unwrap();
    let target = context.output_tree("tree").unwrap().join("p.rpm");
    context.place_copy(&source, &target).unwrap();
    assert_eq!(fs::metadata(&target).unwrap().modified().unwrap(), time);
}
