//! What a program asks the system for, as strace(1) tells it.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::scratch::read;

/// The same command under strace, which follows its children and writes calls of these names to a file.
#[must_use]
pub fn trace(command: &Command, calls: &str, output: &Path) -> Command {
    let mut traced = Command::new("strace");
    traced.args(["-f", "--seccomp-bpf", "-qq", "-y", "-s", "4096", "-e"]).arg(format!("trace={calls}"));
    traced.arg("-e").arg("signal=none").arg("-o").arg(output).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => traced.env(name, value),
            None => traced.env_remove(name),
        };
    }
    traced
}

/// Calls that were made, one a line, without process ids and without results.
#[derive(Debug)]
pub struct Calls(Vec<String>);

impl Calls {
    /// Reads what [`trace`] wrote; fails the test if that is nothing.
    #[must_use]
    pub fn read(output: &Path) -> Self {
        let text = read(output);
        let calls = text.lines().filter_map(|line| line.split_once(' ').map(|(_, call)| call.trim_start()));
        // The second half of a call that another one came in between of has nothing that the first has not.
        let calls: Vec<String> = calls.filter(|call| !call.starts_with("<...")).map(str::to_owned).collect();
        assert!(!calls.is_empty(), "{} has no calls", output.display());
        Self(calls)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Those of this name.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().map(String::as_str).filter(move |call| call.split('(').next() == Some(name))
    }

    /// Locks that were asked for, on whatever file.
    #[must_use]
    pub fn locks(&self) -> Vec<String> {
        let ranges = self.named("fcntl").filter(|call| call.contains("LK"));
        self.named("flock").chain(ranges).map(str::to_owned).collect()
    }

    /// Files below one of `roots` that were opened to append to.
    #[must_use]
    pub fn appended(&self, roots: &[PathBuf]) -> Vec<String> {
        let opened = self.named("openat").chain(self.named("open")).filter(|call| call.contains("O_APPEND"));
        opened.filter(|call| paths(call).iter().any(|path| below(path, roots))).map(str::to_owned).collect()
    }

    /// Files below one of `roots` that were mapped into memory.
    #[must_use]
    pub fn mapped(&self, roots: &[PathBuf]) -> Vec<String> {
        let mapped = self.named("mmap").filter(|call| paths(call).iter().any(|path| below(path, roots)));
        mapped.map(str::to_owned).collect()
    }

    /// Whether any of these calls names a path below one of `roots`.
    #[must_use]
    pub fn touches(&self, roots: &[PathBuf]) -> bool {
        self.0.iter().any(|call| paths(call).iter().any(|path| below(path, roots)))
    }
}

fn below(path: &Path, roots: &[PathBuf]) -> bool {
    roots.iter().any(|root| path.starts_with(root))
}

/// Paths that a call names: those of descriptors, `3</path>`, and its text, `"path"`, which may start at the former.
fn paths(call: &str) -> Vec<PathBuf> {
    let within = |open: char, close: char| call.split_once(open).and_then(|(_, rest)| rest.split_once(close));
    let descriptor = within('<', '>').map(|(path, _)| PathBuf::from(path));
    let text = within('"', '"').map(|(path, _)| PathBuf::from(path));
    let joined = match (&descriptor, &text) {
        (Some(descriptor), Some(text)) => Some(descriptor.join(text)),
        _ => text,
    };
    descriptor.into_iter().chain(joined).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_understood() {
        let text = [
            r#"7 openat(AT_FDCWD</t>, "v/log", O_WRONLY|O_CREAT|O_APPEND|O_CLOEXEC, 0666) = 5</t/v/log>"#,
            r#"7  openat(AT_FDCWD</t>, "/elsewhere/log", O_WRONLY|O_APPEND <unfinished ...>"#,
            r#"7 <... openat resumed>) = 6</elsewhere/log>"#,
            r#"7 mmap(NULL, 8, PROT_READ, MAP_SHARED, 5</t/v/set>, 0) = 0x7f"#,
            r#"7 mmap(NULL, 8, PROT_READ, MAP_PRIVATE, 5</usr/lib/libc.so>, 0) = 0x7f"#,
            r#"7 mmap(NULL, 8, PROT_READ, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = 0x7f"#,
            r#"7 flock(5</t/v/log>, LOCK_EX) = 0"#,
            r#"7 fcntl(5</t/v/log>, F_OFD_SETLK, {l_type=F_WRLCK}) = 0"#,
            r#"7 fcntl(5</t/v/log>, F_GETFL) = 0"#,
        ];
        let scratch = crate::scratch::Scratch::new("strace");
        crate::scratch::write(&scratch.join("trace"), text.join("\n"));
        let calls = Calls::read(&scratch.join("trace"));
        let roots = [PathBuf::from("/t/v")];
        assert_eq!(calls.count(), 8);
        assert_eq!((calls.locks().len(), calls.appended(&roots).len(), calls.mapped(&roots).len()), (2, 1, 1));
        assert!(calls.touches(&roots) && !calls.touches(&["/t/w".into()]));
    }
}
