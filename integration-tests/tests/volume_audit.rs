//! A whole compose does nothing on its volume that a shared one does not keep its promise for: no locks, no appending
//! by several, no mapping (another host's unlink would be a SIGBUS here).

use std::path::PathBuf;

use tutti_integration_tests::{
    compose::{Compose, Run},
    program::{has_tool, run, tutti},
    scratch::Scratch,
    sources,
    strace::{Calls, trace},
};

#[test]
fn no_locks_appends_or_maps_on_the_volume() {
    if !has_tool("strace") {
        return;
    }
    let scratch = Scratch::new("audit");
    let config = sources::demo(&scratch.join("demo"));
    let output = scratch.join("trace");
    let calls = "openat,open,openat2,creat,mmap,flock,fcntl";
    let command = Run::default().with(&["--nightly", "--format", "json"]).command(&config, &scratch.join("composes"));
    let ended = run(trace(&command, calls, &output)).expect(0);
    assert!(ended.stdout.contains("FINISHED"), "{}", ended.text());
    audit(&scratch, &output);
    // Again what is done to a compose that has ended.
    let id = std::fs::read_link(scratch.join("composes/latest-Demo-1")).unwrap();
    let compose = Compose::open(&scratch.join("composes").join(id));
    let mut show = tutti(["show", &compose.id(), "--target-dir"]);
    show.arg(compose.target());
    let _ = run(trace(&show, calls, &output)).expect(0);
    audit(&scratch, &output);
}

fn audit(scratch: &Scratch, output: &std::path::Path) {
    let calls = Calls::read(output);
    let roots: [PathBuf; 2] = [scratch.join("composes"), scratch.join("demo")];
    assert!(calls.touches(&roots), "nothing was seen");
    assert_eq!(calls.locks(), Vec::<String>::new());
    assert_eq!(calls.appended(&roots), Vec::<String>::new());
    assert_eq!(calls.mapped(&roots), Vec::<String>::new());
    eprintln!("{} calls", calls.count());
}
