//! Linux: clone(2) with `CLONE_VM | CLONE_VFORK`, as glibc's own posix_spawn does it.
//!
//! posix_spawn itself knows neither a umask nor, on every libc, a directory. vfork(2) cannot be called from Rust, because
//! it returns twice; clone calls a function, on a stack of its own.
//!
//! # The rules of the child
//!
//! Until it has become the program it shares the parent's memory, and other threads of the parent go on. So:
//!
//! 1. It makes system calls only, and calls nothing that allocates, locks or panics. It may not even index a slice.
//! 2. It writes to its own stack, to `errno` (the parent's thread waits and does not look) and to the two result fields
//!    of [`Plan`], and nowhere else.
//! 3. No handler of the parent runs in it: all signals are blocked from before it is made until every handler has been
//!    put back to the default, in its own copy of the table.
//! 4. It never returns: it ends by execve(2) or `_exit`.

use super::{Command, SpawnError, Stage};
use std::ffi::{CString, c_char, c_int, c_long, c_uint, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// Whether [`spawn`] can work at all.
pub const AVAILABLE: bool = true;

/// The child's stack, in bytes: its calls are shallow and no signal handler runs on it.
const STACK: usize = 32 * 1024;

/// Everything that the child needs, laid out before it is made.
struct Plan {
    programs: *const *const c_char,
    arguments: *const *const c_char,
    environment: *const *const c_char,
    directory: *const c_char,
    /// -1 leaves the parent's.
    standard: [c_int; 3],
    closes_others: bool,
    kept: *const c_int,
    kept_count: usize,
    restores_signals: bool,
    /// -1 leaves it.
    umask: i64,
    new_session: bool,
    /// -1 leaves it.
    process_group: c_int,
    signals: libc::sigset_t,
    /// Written by the child, when it fails.
    failed: Option<Stage>,
    errno: c_int,
}

/// Starts a child, and says its number. Blocks the calling thread until the child runs the new program or has failed to.
///
/// # Errors
///
/// See [`Stage`]; `Unsupported` when descriptors are to be closed and the kernel has no close_range(2) (before 5.9).
pub fn spawn(command: &Command) -> Result<i32, SpawnError> {
    let failed = |stage, error| SpawnError { stage, error };
    if command.closes_others && !has_close_range() {
        let error = io::Error::from_raw_os_error(libc::ENOSYS);
        return Err(failed(Stage::Unsupported, error));
    }
    let programs = pointers(&command.programs);
    let arguments = pointers(&command.arguments);
    let environment = pointers(&command.environment);
    let mut plan = Plan {
        programs: programs.as_ptr(),
        arguments: arguments.as_ptr(),
        environment: environment.as_ptr(),
        directory: command
            .directory
            .as_ref()
            .map_or(null(), |path| path.as_ptr()),
        standard: command.standard.map(|fd| fd.unwrap_or(-1)),
        closes_others: command.closes_others,
        kept: command.kept.as_ptr(),
        kept_count: command.kept.len(),
        restores_signals: command.restores_signals,
        umask: command.umask.map_or(-1, i64::from),
        new_session: command.new_session,
        process_group: command.process_group.unwrap_or(-1),
        // SAFETY: a set of signals is plain bits.
        signals: unsafe { std::mem::zeroed() },
        failed: None,
        errno: 0,
    };
    let mut stack = Box::<[MaybeUninit<u8>]>::new_uninit_slice(STACK);
    // SAFETY: `plan`, what it points to, and the stack outlive the call, which returns only when the child has ended or
    // left our memory (CLONE_VFORK). The stack's end is aligned to 16 bytes. The child keeps the rules above. The mask is
    // restored whatever clone answered.
    let (pid, error) = unsafe {
        let top = stack.as_mut_ptr().add(STACK);
        let top = top.sub(top as usize % 16);
        let mut every = MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigfillset(every.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, every.as_ptr(), &raw mut plan.signals);
        let pid = libc::clone(
            child,
            top.cast(),
            libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD,
            (&raw mut plan).cast(),
        );
        let error = io::Error::last_os_error();
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const plan.signals, null_mut());
        (pid, error)
    };
    if pid < 0 {
        return Err(failed(Stage::Fork, error));
    }
    // SAFETY: `plan` is ours; the read is volatile because the child wrote it behind the compiler's back.
    let (stage, errno) = unsafe {
        (
            (&raw const plan.failed).read_volatile(),
            (&raw const plan.errno).read_volatile(),
        )
    };
    let Some(stage) = stage else {
        return Ok(pid);
    };
    collect(pid);
    Err(failed(stage, io::Error::from_raw_os_error(errno)))
}

/// Waits for a child that is ending.
fn collect(pid: libc::pid_t) {
    // SAFETY: the null pointer says that the status is not wanted.
    while unsafe { libc::waitpid(pid, null_mut(), 0) } < 0
        && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
    {}
}

/// C's form of a list of strings: pointers, then null.
fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    let ends = std::iter::once(null());
    strings
        .iter()
        .map(|string| string.as_ptr())
        .chain(ends)
        .collect()
}

/// Whether the kernel has close_range(2); asked once.
fn has_close_range() -> bool {
    const UNKNOWN: u8 = 0;
    const YES: u8 = 1;
    const NO: u8 = 2;
    static ANSWER: AtomicU8 = AtomicU8::new(UNKNOWN);
    match ANSWER.load(Relaxed) {
        UNKNOWN => {
            // SAFETY: no descriptor has this number, so nothing is closed.
            let closed = unsafe { close_range(c_uint::MAX, c_uint::MAX) };
            ANSWER.store(if closed { YES } else { NO }, Relaxed);
            closed
        }
        answer => answer == YES,
    }
}

/// # Safety
///
/// Nobody in this process uses the descriptors from `first` to `last` any more.
unsafe fn close_range(first: c_uint, last: c_uint) -> bool {
    let none: c_uint = 0;
    // SAFETY: the caller's promise. By number, because older libcs have no function for it.
    unsafe { libc::syscall(libc::SYS_close_range, first, last, none) == 0 as c_long }
}

/// The child's first and only function; rule 4.
extern "C" fn child(plan: *mut c_void) -> c_int {
    let plan = plan.cast::<Plan>();
    // SAFETY: `spawn` passes its plan and waits. The rules of the child are kept by `become_program`.
    unsafe {
        let stage = become_program(&raw const *plan);
        (&raw mut (*plan).errno).write_volatile(*libc::__errno_location());
        (&raw mut (*plan).failed).write_volatile(Some(stage));
        libc::_exit(255)
    }
}

/// Does what the plan says; returns only on failure, with the stage, and `errno` set. The order is that of CPython's
/// subprocess.
///
/// # Safety
///
/// Called in the child, with a complete plan.
unsafe fn become_program(plan: *const Plan) -> Stage {
    // SAFETY: rules 1 to 4; the plan's pointers are live, its lists end as they say.
    unsafe {
        let plan = &*plan;
        let mut index = 0;
        while index < plan.kept_count {
            if !inherit(*plan.kept.add(index)) {
                return Stage::Setup;
            }
            index += 1;
        }
        let [input, output, error] = plan.standard;
        // Out of the way first: a source that is itself one of the three would be overwritten before its turn.
        let (input, output, error) = (aside(input, 0), aside(output, 1), aside(error, 2));
        if !(place(input, 0) && place(output, 1) && place(error, 2)) {
            return Stage::Setup;
        }
        if !plan.directory.is_null() && libc::chdir(plan.directory) < 0 {
            return Stage::Directory;
        }
        if plan.umask >= 0 {
            libc::umask(plan.umask as libc::mode_t);
        }
        reset_signals(plan.restores_signals);
        if libc::pthread_sigmask(libc::SIG_SETMASK, &raw const plan.signals, null_mut()) != 0 {
            return Stage::Setup;
        }
        if plan.new_session && libc::setsid() < 0 {
            return Stage::Setup;
        }
        if plan.process_group >= 0 && libc::setpgid(0, plan.process_group) < 0 {
            return Stage::Setup;
        }
        if plan.closes_others {
            let mut first: c_uint = 3;
            index = 0;
            while index < plan.kept_count {
                let kept = *plan.kept.add(index) as c_uint;
                if kept > first {
                    close_range(first, kept - 1);
                }
                if kept >= first {
                    first = kept + 1;
                }
                index += 1;
            }
            close_range(first, c_uint::MAX);
        }
        // The first real error counts: a program that is there and may not be run, rather than the last that is not there.
        let errno = libc::__errno_location();
        let mut first_error = 0;
        let mut program = plan.programs;
        while !(*program).is_null() {
            libc::execve(*program, plan.arguments, plan.environment);
            if *errno != libc::ENOENT && *errno != libc::ENOTDIR && first_error == 0 {
                first_error = *errno;
            }
            program = program.add(1);
        }
        if first_error != 0 {
            *errno = first_error;
        }
        Stage::Execute
    }
}

/// Puts every handler of the parent's back to the default, and with `restore` what Python ignores as well. execve would
/// do the former, but a signal may come in between, once it is no longer blocked.
///
/// # Safety
///
/// Called in the child.
unsafe fn reset_signals(restore: bool) {
    // SAFETY: rules 1 and 2; `sigaction` is plain data. Numbers that libc keeps for itself are refused, which is right.
    unsafe {
        let mut signal = 1;
        while signal <= 64 {
            let mut action = MaybeUninit::<libc::sigaction>::zeroed();
            if libc::sigaction(signal, null(), action.as_mut_ptr()) == 0 {
                let handler = (*action.as_ptr()).sa_sigaction;
                let restored = restore && (signal == libc::SIGPIPE || signal == libc::SIGXFSZ);
                if handler != libc::SIG_DFL && (restored || handler != libc::SIG_IGN) {
                    let default = MaybeUninit::<libc::sigaction>::zeroed();
                    libc::sigaction(signal, default.as_ptr(), null_mut());
                }
            }
            signal += 1;
        }
    }
}

/// A copy of `fd` above the standard ones if it stands on another's place; `fd` itself otherwise, and on failure, which
/// [`place`] then meets.
///
/// # Safety
///
/// Called in the child.
unsafe fn aside(fd: c_int, target: c_int) -> c_int {
    if !(0..=2).contains(&fd) || fd == target {
        return fd;
    }
    // SAFETY: a system call.
    let moved = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) };
    if moved < 0 { fd } else { moved }
}

/// Makes `fd` the child's descriptor `target`.
///
/// # Safety
///
/// Called in the child.
unsafe fn place(fd: c_int, target: c_int) -> bool {
    // SAFETY: system calls.
    unsafe {
        match fd {
            -1 => true,
            fd if fd == target => inherit(fd),
            fd => libc::dup2(fd, target) >= 0,
        }
    }
}

/// Keeps a descriptor open over execve.
///
/// # Safety
///
/// Called in the child.
unsafe fn inherit(fd: c_int) -> bool {
    // SAFETY: system calls.
    unsafe {
        let flags = libc::fcntl(fd, libc::F_GETFD);
        flags >= 0 && libc::fcntl(fd, libc::F_SETFD, flags & !libc::FD_CLOEXEC) >= 0
    }
}
