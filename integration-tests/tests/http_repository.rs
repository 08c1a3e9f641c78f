//! Packages from a web server, as composes of other people's repositories take them.

#![allow(clippy::unwrap_used, reason = "helpers of tests, outside of test functions")]

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use tutti_integration_tests::{
    compose::{Compose, Run},
    judges,
    program::{has_tool, kill_group, run, tutti_path},
    scratch::{Scratch, read, write},
    sources, tree,
};

/// Python's own web server on a free port, killed when dropped.
struct Server {
    child: Child,
    port: u16,
}

const SERVE: &str = "import http.server, sys, functools
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=sys.argv[1])
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler)
print(server.server_address[1], flush=True)
server.serve_forever()";

impl Server {
    fn start(directory: &Path) -> Self {
        use std::os::unix::process::CommandExt;
        let mut command = Command::new("python3");
        command.args(["-c", SERVE]).arg(directory).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, port: line.trim().parse().unwrap() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        kill_group(self.child.id());
        let _ = self.child.wait();
    }
}

/// The demo distribution with repodata, and a configuration that takes it from the server.
fn distribution(scratch: &Scratch) -> (std::path::PathBuf, Server) {
    let config = sources::demo(&scratch.join("demo"));
    for repository in ["x86_64", "aarch64", "source"] {
        let mut command = Command::new("createrepo_c");
        command.args(["-q", "--no-database"]).arg(scratch.join("demo/repos").join(repository));
        let _ = run(command).expect(0);
    }
    let server = Server::start(&scratch.join("demo"));
    let url = format!("\"http://127.0.0.1:{}/repos/", server.port);
    let remote = config.with_file_name("remote.conf");
    write(&remote, read(&config).replace("\"repos/", &url));
    (remote, server)
}

fn composed(config: &Path, target: &Path) -> Compose {
    let fixed = ["--compose-id", "Demo-1-20260102.0", "--date", "20260102"];
    Run::default().with(&fixed).env("SOURCE_DATE_EPOCH", "1767312000").compose(config, target, 0).0
}

#[test]
fn gives_the_same_tree_as_a_directory() {
    if !has_tool("createrepo_c") {
        return;
    }
    let scratch = Scratch::new("http");
    let (remote, _server) = distribution(&scratch);
    let far = composed(&remote, &scratch.join("far"));
    let near = composed(&remote.with_file_name("compose.conf"), &scratch.join("near"));
    let differences = tree::differences(&near.tree(""), &far.tree(""));
    assert!(
        differences.is_empty(),
        "{} differences with {}:\n{}",
        differences.len(),
        tutti_path().display(),
        differences.join("\n")
    );
    judges::repodata(&far);
}

#[test]
fn that_serves_something_else_fails_the_compose() {
    if !has_tool("createrepo_c") {
        return;
    }
    let scratch = Scratch::new("http-bad");
    let (remote, _server) = distribution(&scratch);
    let name = "httpd-2.4.58-1.x86_64.rpm";
    let path = scratch.join("demo/repos/x86_64").join(name);
    let mut bytes = std::fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let ended = Run::default().run(&remote, &scratch.join("composes")).expect(1);
    assert!(ended.stdout.contains(name) && ended.stdout.contains("Status: DOOMED"), "{}", ended.text());
}
