// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! The command line: sub-commands, options, and their help, which is also the manual.

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// Most descriptors that can be named with `--fd`.
const MAX_FDS: usize = 1024;

const EXIT_CODES: &str = "\
Exit codes of all commands but restart:
  0  done (status: the modules are loaded)
  1  the process has state that cannot be checkpointed (status: the modules are not loaded)
  2  wrong use of the command
  3  no such process
  4  not permitted
  5  the kernel modules are missing, do not load or do not match
  6  a file could not be read or written
  7  any other failure

Exit codes of restart: see crctl restart --help.

JSON: with --json every command prints one object on standard output, on \
failure too (but not for a command line that cannot be parsed): {\"command\", \"ok\": false, \
\"exit_code\", \"error\", \"messages\": [{\"message\", \"remedy\"}]}. Addresses are strings in hex, durations \
nanoseconds; what does not apply is absent.";

const CHECK_HELP: &str = "\
Exit codes: 0 a checkpoint would work, 1 there are obstacles, 2 wrong use, 3 no such process, 4 not permitted, \
5 kernel modules missing, 6 file error, 7 any other failure.

JSON: {\"command\", \"ok\", \"exit_code\", \"pid\", \"comm\", \"processes\", \"threads\", \"obstacles\": [{\"word\", \"pid\", \"tid\", \
\"fd\", \"address\", \"object\", \"reason\", \"remedy\"}], \"notes\": [{\"word\", \"message\"}]}.";

const CHECKPOINT_HELP: &str = "\
A checkpoint that fails leaves the process running and no file. The image is written to .NAME.crctl-PID.tmp beside \
FILE and renamed when it is complete and synced; only a crctl that is killed with SIGKILL leaves that file behind, and \
the next checkpoint to FILE removes it. An image holds the memory of the process with all its secrets: FILE gets mode \
0600.

Descriptors 0-2 that lead to a terminal or a pipe of the shell are connected to crctl's own at restart. Any other \
descriptor with its far end outside of the process is an obstacle unless it is promised with --fd.

Exit codes: 0 done, 1 there are obstacles (all are listed), 2 wrong use, 3 no such process, 4 not permitted, 5 kernel \
modules missing, 6 file error, 7 any other failure.

JSON (on standard error with -o -): {\"command\", \"ok\", \"exit_code\", \"pid\", \"comm\", \"output\", \"processes\", \"threads\", \
\"image_bytes\", \"pages\", \"page_bytes\", \"stored_bytes\", \"zstd\", \"frozen_ns\", \"total_ns\", \"after\": \
\"continued\" | \"killed\" | \"stopped\", \"notes\"}. page_bytes is the size of the pages with contents, stored_bytes what they take \
in the image, zstd the level (absent: stored as they are).";

const RESTART_HELP: &str = "\
In the foreground (without --detach) crctl stays the parent of the restarted program: signals that are sent to crctl \
(HUP, INT, QUIT, TERM, USR1, USR2, TSTP, CONT) are passed on, terminal signals reach the program as they reach crctl, \
crctl stops when the program stops, and it ends as the program ends: with the same exit status, or by the same signal.

Descriptors that were connected to something outside: 0-2 get crctl's own, the others must be given with --fd. With \
the image on standard input (-), descriptor 0 gets /dev/null unless given. PATH must exist and is opened with the \
access of the old descriptor; /dev/fd/M names an open descriptor of crctl. Waiting for the far end of a FIFO can be \
interrupted.

If the clock has to be set back to the one of the checkpoint (after a reboot), the program runs in a time namespace of \
its own. This needs root.

A restart that fails leaves no process.

--dry-run finds what is wrong with the image before what is missing on this host; whether files have changed since the \
checkpoint is found by a restart only.

Exit codes of crctl's own failures; it then also prints a message that begins with \"crctl restart:\":
    2  wrong use of the command, or a descriptor that must be connected is not given with --fd
  120  the image is damaged
  121  the image is newer than the modules, uses what they do not support, or is over a limit
  122  this host cannot restart it: pid taken, file changed or missing, other kernel, module missing
  123  not permitted
  124  a file could not be read or written
  125  any other failure

JSON: when the program runs {\"command\", \"ok\", \"pid\", \"tgid\", \"processes\", \"threads\", \"image_bytes\", \"pages\", \
\"restart_ns\", \"time_namespace\", \"pid_namespace\", \"notes\"}; what the program prints may come before it. With --dry-run \
{\"command\", \"ok\", \"dry_run\": true, \"tgid\", \"processes\", \"threads\", \"time_namespace\", \"notes\"}.";

const STATUS_HELP: &str = "\
Exit codes: 0 the modules are loaded, 1 they are not, other codes as for crctl check.

JSON: {\"command\", \"ok\", \"exit_code\", \"loaded\", \"kernel\", \"version\", \"abi\", \"format\", \"sessions\", \
\"landlock\", \"extensions\": [{\"word\", \"section\", \"module\", \"users\"}]}.";

/// Checkpoint and restart processes.
///
/// crctl writes the state of a running process, with all its threads and descendants, to an image file, and makes
/// running processes of it again: later, after a reboot, or on another machine with the same kernel and files. The work is done by
/// kernel modules, which crctl loads when they are needed.
#[derive(Parser, Debug)]
#[command(name = "crctl", version, after_long_help = EXIT_CODES, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,

    /// Print the result as one JSON object on standard output; without it, text for people
    #[arg(long, global = true)]
    pub json: bool,
}

/// The sub-commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Tell whether a process can be checkpointed, and list everything that is in the way
    ///
    /// Freezes the process for the time of the look; nothing is written.
    #[command(after_long_help = CHECK_HELP)]
    Check(CheckArgs),

    /// Write a process to an image; it continues afterwards
    #[command(after_long_help = CHECKPOINT_HELP)]
    Checkpoint(CheckpointArgs),

    /// Make a running process of an image
    #[command(after_long_help = RESTART_HELP)]
    Restart(RestartArgs),

    /// Load the kernel modules (check, checkpoint and restart do so when needed)
    Load(LoadArgs),

    /// Remove the kernel modules, extensions first
    Unload,

    /// Show whether the kernel modules are loaded, and which extensions
    #[command(after_long_help = STATUS_HELP)]
    Status,

    /// Print the completion script for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },

    /// Print a manual page (troff source)
    Man {
        /// Page of this sub-command; without it, the page crctl(1)
        command: Option<String>,
    },
}

/// What `check` and `checkpoint` have in common.
#[derive(Args, Debug)]
pub struct TargetArgs {
    /// Process id
    #[arg(value_parser = clap::value_parser!(i32).range(1..), required_unless_present_any = ["pgrp", "session"])]
    pub pid: Option<i32>,

    /// All of a process group instead, a job of a shell for instance, which stays outside; a process that descends from one
    /// of it and has left it is an obstacle
    #[arg(long, value_name = "PGID", value_parser = clap::value_parser!(i32).range(1..), conflicts_with_all = ["pid", "session", "single"])]
    pub pgrp: Option<i32>,

    /// All of a session instead, as --pgrp
    #[arg(long, value_name = "SID", value_parser = clap::value_parser!(i32).range(1..), conflicts_with_all = ["pid", "single"])]
    pub session: Option<i32>,

    /// Promise to connect descriptor N at restart (repeatable); without it, a far end outside is an obstacle
    #[arg(long = "fd", value_name = "N", value_parser = clap::value_parser!(u32).range(0..=i64::from(i32::MAX)))]
    pub fds: Vec<u32>,

    /// The process alone; without it, all its descendants belong to it
    #[arg(long)]
    pub single: bool,

    /// Restrictions to give up: the restarted process runs without; otherwise they are obstacles
    #[arg(long, value_name = "WHAT")]
    pub drop: Vec<Droppable>,
}

/// Restrictions that a checkpoint can leave out.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Droppable {
    /// The Landlock domain
    Landlock,
}

/// Arguments of `check`.
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// The process.
    #[command(flatten)]
    pub target: TargetArgs,
}

/// Arguments of `checkpoint`.
#[derive(Args, Debug)]
pub struct CheckpointArgs {
    /// The process.
    #[command(flatten)]
    pub target: TargetArgs,

    /// Where to write the image; - is standard output (a pipe: it cannot be synced, so --kill and --stop take
    /// effect when the reader has been given everything, not when it has stored it)
    #[arg(short, long, value_name = "FILE|-", allow_hyphen_values = true)]
    pub output: PathBuf,

    /// Kill the process when the image is complete and synced; without it, the process continues
    #[arg(long, conflicts_with = "stop")]
    pub kill: bool,

    /// Stop the process (SIGSTOP) when the image is complete and synced; without it, the process continues
    #[arg(long)]
    pub stop: bool,

    /// Replace FILE if it exists, atomically; without it, an existing FILE is an error
    #[arg(long)]
    pub force: bool,

    /// Store the contents of the regular files too that the process has open by descriptors, so that restart
    /// --files=content can bring them back; without it, only what has no path any more is stored
    #[arg(long)]
    pub with_files: bool,

    /// Compress the contents of memory with zstd at LEVEL, 1 (fast) to 19 (small), 3 if no LEVEL is given; without
    /// it, they are stored as they are, which is fastest. The process is frozen while it is done; crimg repack
    /// compresses an image afterwards
    #[arg(long, value_name = "LEVEL", num_args = 0..=1, require_equals = true, default_missing_value = "3",
        value_parser = clap::value_parser!(u32).range(1..=19))]
    pub zstd: Option<u32>,
}

/// Arguments of `restart`.
#[derive(Args, Debug)]
pub struct RestartArgs {
    /// The image; - is standard input
    #[arg(value_name = "FILE|-", allow_hyphen_values = true)]
    pub image: PathBuf,

    /// Return when the process runs; without it, crctl waits for its end and mirrors its exit status
    #[arg(long)]
    pub detach: bool,

    /// Write the pid of the process, as seen from here, to F when it runs (atomically, replacing F)
    #[arg(long, value_name = "F")]
    pub pidfile: Option<PathBuf>,

    /// Connect descriptor N to PATH (repeatable); without it, descriptors 0-2 get crctl's own
    #[arg(long = "fd", value_name = "N=PATH", value_parser = OsStringValueParser::new().try_map(parse_fd_path))]
    pub fds: Vec<FdPath>,

    /// Run in a new pid namespace, where every pid is free; without it, the pids of the image must be free. The
    /// program's end ends all processes in the namespace. Needs root
    #[arg(long)]
    pub new_pidns: bool,

    /// Only find out whether the image can be restarted here: the kernel reads and checks all of it, as for a restart,
    /// and nothing is created. Without it, the process is restarted
    #[arg(long, conflicts_with_all = ["detach", "pidfile"])]
    pub dry_run: bool,

    /// What to do about regular files that changed since the checkpoint
    #[arg(long, value_enum, default_value_t = Files::Check)]
    pub files: Files,

    /// What to do about control groups
    #[arg(long, value_enum, default_value_t = Cgroups::Join)]
    pub cgroups: Cgroups,
}

/// `--cgroups`.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cgroups {
    /// Each process joins the group it was in; if it cannot, it stays in that of crctl, and a note says so
    Join,
    /// A process that cannot join its group makes the restart fail
    Require,
    /// All processes stay in the group of crctl
    Ignore,
}

/// `--files`.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Files {
    /// A changed file makes the restart fail
    Check,
    /// Files are taken as they are
    Ignore,
    /// Files open for writing that have grown are cut back to their old length
    Truncate,
    /// Files that are missing or changed, and whose contents are in the image (checkpoint --with-files), are replaced by
    /// what they were; others as with check
    Content,
}

/// `--fd N=PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FdPath {
    /// Descriptor in the image.
    pub fd: u32,
    /// What to connect it to.
    pub path: PathBuf,
}

/// Arguments of `load`.
#[derive(Args, Debug)]
pub struct LoadArgs {
    /// Load all installed extensions too; without it, each is loaded when it is needed
    #[arg(long)]
    pub all: bool,
}

/// Parses the command line; ends the program with status 2 on wrong use, 0 after `--help`.
pub fn parse() -> Cli {
    let cli = Cli::parse();
    if let Err(error) = check(&cli) {
        error.exit();
    }
    cli
}

/// What clap cannot check by itself.
fn check(cli: &Cli) -> Result<(), clap::Error> {
    use clap::error::ErrorKind::ValueValidation;
    let error =
        |text: String| Err(<Cli as clap::CommandFactory>::command().error(ValueValidation, text));
    let count = match &cli.command {
        Command::Check(args) => args.target.fds.len(),
        Command::Checkpoint(args) => args.target.fds.len(),
        Command::Restart(args) => {
            let mut fds: Vec<u32> = args.fds.iter().map(|f| f.fd).collect();
            fds.sort_unstable();
            if let Some(twice) = fds.windows(2).find(|w| w[0] == w[1]) {
                return error(format!("--fd {} is given twice", twice[0]));
            }
            if args.dry_run && args.files == Files::Content {
                return error("--files=content replaces files, and --dry-run changes nothing; see what is in the image with: crimg show --fds".to_owned());
            }
            fds.len()
        }
        _ => 0,
    };
    if count > MAX_FDS {
        return error(format!("--fd can be given {MAX_FDS} times at most"));
    }
    Ok(())
}

fn parse_fd_path(arg: OsString) -> Result<FdPath, String> {
    let bytes = arg.into_vec();
    let malformed = || "expected N=PATH, for example 5=/dev/null".to_owned();
    let at = bytes
        .iter()
        .position(|&b| b == b'=')
        .ok_or_else(malformed)?;
    let fd = std::str::from_utf8(&bytes[..at])
        .ok()
        .and_then(|n| n.parse::<u32>().ok());
    let fd = fd
        .filter(|&n| i32::try_from(n).is_ok())
        .ok_or_else(malformed)?;
    let path = PathBuf::from(OsStr::from_bytes(&bytes[at + 1..]));
    if path.as_os_str().is_empty() {
        return Err(malformed());
    }
    Ok(FdPath { fd, path })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(args: &[&str]) -> Result<Cli, clap::Error> {
        let cli = Cli::try_parse_from(std::iter::once(&"crctl").chain(args))?;
        check(&cli).map(|()| cli)
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_checkpoint_names_process_and_file() {
        let cli = parse(&[
            "checkpoint",
            "12",
            "-o",
            "-",
            "--kill",
            "--fd",
            "5",
            "--fd",
            "6",
            "--json",
        ])
        .unwrap();
        assert!(cli.json);
        let Command::Checkpoint(args) = cli.command else {
            panic!("another command")
        };
        assert_eq!(
            (args.target.pid, args.output, args.kill, args.stop),
            (Some(12), PathBuf::from("-"), true, false)
        );
        assert_eq!(args.target.fds, [5, 6]);
        assert!(args.target.drop.is_empty());
    }

    #[test]
    fn what_contradicts_itself_or_is_no_number_is_refused() {
        for bad in [
            &["checkpoint", "12"][..],
            &["checkpoint", "12", "-o", "f", "--kill", "--stop"],
            &["checkpoint", "0", "-o", "f"],
            &["checkpoint", "-1", "-o", "f"],
            &["checkpoint", "4294967297", "-o", "f"],
            &["checkpoint", "12", "-o", "f", "--drop", "seccomp"],
            &["check", "x"],
            &["check"],
            &["check", "1", "--pgrp", "1"],
            &["check", "--session", "1", "--pgrp", "1"],
            &["check", "--session", "1", "--single"],
            &["check", "--session", "0"],
            &["check", "1", "--fd", "-1"],
            &["restart"],
            &["restart", "f", "--fd", "5"],
            &["restart", "f", "--fd", "=x"],
            &["restart", "f", "--fd", "5="],
            &["restart", "f", "--fd", "4294967295=x"],
            &["restart", "f", "--fd", "5=x", "--fd", "5=y"],
            &["restart", "f", "--files", "maybe"],
            &["restart", "f", "--dry-run", "--detach"],
            &["restart", "f", "--dry-run", "--pidfile", "p"],
            &["checkpoint", "12", "-o", "f", "--zstd=0"],
            &["checkpoint", "12", "-o", "f", "--zstd=20"],
            &["checkpoint", "12", "-o", "f", "--zstd="],
            &["checkpoint", "12", "-o", "f", "--zstd", "3"],
            &["status", "extra"],
            &[],
        ] {
            assert_eq!(parse(bad).unwrap_err().exit_code(), 2, "{bad:?}");
        }
    }

    #[test]
    fn compression_has_a_level_of_its_own_or_the_usual_one() {
        for (arg, level) in [
            ("--zstd", Some(3)),
            ("--zstd=1", Some(1)),
            ("--zstd=19", Some(19)),
            ("--force", None),
        ] {
            let cli = parse(&["checkpoint", "12", arg, "-o", "f"]).unwrap();
            let Command::Checkpoint(args) = cli.command else {
                panic!("another command")
            };
            assert_eq!(args.zstd, level, "{arg}");
        }
    }

    #[test]
    fn a_restart_takes_descriptors_with_any_path() {
        let cli = parse(&[
            "restart",
            "-",
            "--fd",
            "0=/dev/null",
            "--fd",
            "7=a=b",
            "--files",
            "truncate",
        ])
        .unwrap();
        let Command::Restart(args) = cli.command else {
            panic!("another command")
        };
        assert_eq!(
            args.fds[1],
            FdPath {
                fd: 7,
                path: "a=b".into()
            }
        );
        assert_eq!(args.files, Files::Truncate);
        let raw = parse_fd_path(OsString::from_vec(b"1=\xff".to_vec())).unwrap();
        assert_eq!(raw.path.as_os_str().as_bytes(), b"\xff");
    }

    #[test]
    fn too_many_descriptors_are_refused() {
        let mut args = vec!["check".to_owned(), "1".to_owned()];
        for n in 0..=MAX_FDS {
            args.extend(["--fd".to_owned(), n.to_string()]);
        }
        let refs: Vec<&str> = args.iter().map(String::as_str).collect();
        assert_eq!(parse(&refs).unwrap_err().exit_code(), 2);
        assert!(parse(&refs[..refs.len() - 2]).is_ok());
    }
}
