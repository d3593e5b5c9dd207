//! A child that becomes a program, and one that cannot.
//!
//! In a test program of their own: until its exec a child has every descriptor of its parent, and the other tests count on a socket or a
//! pipe to end when they close their end of it.
#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    reason = "clippy.toml allows it in tests, but does not see that all of this file is one"
)]

use std::ffi::CString;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd};
use tepal_sys::process::{Command, Stage, spawn};

fn strings(list: &[&str]) -> Vec<CString> {
    list.iter()
        .map(|text| CString::new(*text).unwrap())
        .collect()
}

fn shell(script: &str) -> Command {
    Command {
        programs: strings(&["/nowhere/sh", "/bin/sh"]),
        arguments: strings(&["sh", "-c", script]),
        environment: strings(&["COLOUR=green", "PATH=/usr/bin:/bin"]),
        closes_others: true,
        restores_signals: true,
        ..Command::default()
    }
}

/// Runs a command and returns what it printed.
fn output(mut command: Command) -> String {
    let (near, far) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    command.standard = [None, Some(far.as_raw_fd()), None];
    let child = spawn(&command).unwrap();
    drop(far);
    let mut text = String::new();
    std::fs::File::from(near).read_to_string(&mut text).unwrap();
    let pid = rustix::process::Pid::from_raw(child).unwrap();
    let ended = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
    assert_eq!(ended.unwrap().unwrap().1.exit_status(), Some(0));
    text
}

#[test]
fn a_program_runs_in_its_surroundings() {
    assert_eq!(output(shell("echo $COLOUR")), "green\n");
    let mut elsewhere = shell("pwd; umask");
    elsewhere.directory = CString::new("/usr").ok();
    elsewhere.umask = Some(0o27);
    assert_eq!(output(elsewhere), "/usr\n0027\n");
    let mut leader = shell("cut -d' ' -f1,5,6 /proc/self/stat; echo $$ $$");
    leader.new_session = true;
    let text = output(leader);
    let mut lines = text.lines();
    let (numbers, shell) = (lines.next().unwrap(), lines.next().unwrap());
    assert!(numbers.ends_with(shell), "{text}");
}

#[test]
fn only_what_was_named_is_inherited() {
    let (kept, closed) = rustix::pipe::pipe().unwrap();
    let mut command = shell("ls /proc/self/fd");
    let kept = rustix::io::fcntl_dupfd_cloexec(kept.as_fd(), 700).unwrap();
    let closed = rustix::io::fcntl_dupfd_cloexec(closed.as_fd(), 800).unwrap();
    rustix::io::fcntl_setfd(&closed, rustix::io::FdFlags::empty()).unwrap();
    command.kept = vec![kept.as_raw_fd()];
    let text = output(command);
    let numbers: Vec<&str> = text.split_whitespace().collect();
    assert!(
        numbers.contains(&kept.as_raw_fd().to_string().as_str()),
        "{text}"
    );
    assert!(
        !numbers.contains(&closed.as_raw_fd().to_string().as_str()),
        "{text}"
    );
}

#[test]
fn failures_name_their_stage_and_leave_no_child() {
    let mut missing = shell("true");
    missing.programs = strings(&["/nowhere/one", "/nowhere/two"]);
    let error = spawn(&missing).unwrap_err();
    assert_eq!(
        (error.stage, error.error.kind()),
        (Stage::Execute, io::ErrorKind::NotFound)
    );
    missing.programs = strings(&["/etc/passwd", "/nowhere/two"]);
    let error = spawn(&missing).unwrap_err();
    assert_eq!(
        (error.stage, error.error.kind()),
        (Stage::Execute, io::ErrorKind::PermissionDenied)
    );
    let mut lost = shell("true");
    lost.directory = CString::new("/nowhere").ok();
    assert_eq!(spawn(&lost).unwrap_err().stage, Stage::Directory);
    let mut broken = shell("true");
    broken.standard = [Some(9999), None, None];
    assert_eq!(spawn(&broken).unwrap_err().stage, Stage::Setup);
}
