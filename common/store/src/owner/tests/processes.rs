//! Real processes on real files, killed at any moment.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::error::StoreError;
use crate::owner::record::Record;
use crate::owner::{Judgement, Owner, TakeOver, World, files::Real};

const CHILDREN: usize = 8;
const KILLS: usize = 60;
/// For a machine that is very busy.
const LIMIT: Duration = Duration::from_secs(120);

/// Not a test of its own: the child of the next one. Owns the file again and again until it is killed.
#[test]
fn child_owns() {
    let Some(directory) = std::env::var_os("OWNER_TEST_DIRECTORY") else { return };
    let (path, inside) = (Path::new(&directory).join("state"), Path::new(&directory).join("inside"));
    loop {
        let owner = match Owner::acquire(&path, TakeOver::No) {
            Ok(owner) => owner,
            Err(StoreError::InUse { process, .. }) if process != std::process::id() => continue,
            Err(error) => {
                println!("\nproblem {error}");
                continue;
            }
        };
        // Whoever was inside last has left, or is dead.
        let last = fs::read(&inside).unwrap_or_default();
        if !last.is_empty() && Real.judge(&path, &Record::decode(&last).unwrap()) == Judgement::Alive {
            println!("\nproblem: another owner is alive");
        }
        fs::write(&inside, Record { number: 1, ..Real.me() }.encode()).unwrap();
        owner.check().unwrap();
        fs::write(&inside, "").unwrap();
        println!("\nowned");
        owner.release();
    }
}

fn child(directory: &Path, said: mpsc::Sender<String>) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "owner::tests::processes::child_owns", "--nocapture"])
        .env("OWNER_TEST_DIRECTORY", directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            if line.starts_with("owned") || line.starts_with("problem") {
                let _ = said.send(line);
            }
        }
    });
    child
}

#[test]
fn r15_processes_that_are_killed_leave_the_file_to_one_other() {
    let directory = tempfile::tempdir().unwrap();
    let (sender, said) = mpsc::channel();
    let mut children: Vec<Child> = (0..CHILDREN).map(|_| child(directory.path(), sender.clone())).collect();
    let (mut owned, mut problems) = (0, Vec::new());
    for kill in 0..KILLS {
        for _ in 0..1 + kill % 5 {
            match said.recv_timeout(LIMIT).expect("nobody gets the file any more") {
                line if line == "owned" => owned += 1,
                problem => problems.push(problem),
            }
        }
        let chosen = kill * 5 % CHILDREN;
        children[chosen].kill().unwrap();
        children[chosen].wait().unwrap();
        children[chosen] = child(directory.path(), sender.clone());
    }
    for child in &mut children {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert_eq!(problems, Vec::<String>::new());
    let owner = Owner::acquire(&directory.path().join("state"), TakeOver::No).unwrap();
    owner.release();
    drop(owner);
    let left = super::names(directory.path()).len();
    assert!(left <= 3, "{:?}", super::names(directory.path()));
    eprintln!("owner: owned {owned} times by {CHILDREN} processes, {KILLS} of them killed, {left} files left");
}
