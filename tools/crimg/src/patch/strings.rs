// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Arguments and environment on the stack.
//!
//! At exec the kernel puts them at the top of the stack (fs/binfmt_elf.c, `create_elf_tables`):
//!
//! ```text
//! start_stack  argc
//!              argv[0] … argv[argc-1] 0
//!              envp[0] …              0
//!              auxiliary vector
//!              (gap)
//! arg_start    argument strings, NUL behind each
//! env_start    environment strings, NUL behind each     env_start = arg_end
//! env_end      the path of the program, AT_EXECFN
//! ```
//!
//! They can be edited as long as all this still holds; the memory is read to see that it does. The room is
//! what lies between `arg_start` and the path behind `env_end`, and the pointers that there are; the number
//! of arguments stays, for the program has counted them. When a string changes its length, those behind it
//! move. Pointers to them elsewhere in memory would then be wrong, so memory is searched for some.

use super::{draft::Draft, edit::Kind, Refusal};
use crate::{error::Failure, escape, file::Page};
use cr_format::{MmRecord, ProcessRecord, TaskRecord, REG_NAMES, TASKS};
use rayon::prelude::*;

/// Longest strings that are taken: more than exec allows with a stack limit of 24 MiB.
const STRINGS_MAX: u64 = 8 << 20;
/// How far behind the environment the path of the program may be after strings have become shorter.
const SLACK_MAX: u64 = 1 << 20;
/// Most pointers that earlier edits may have freed.
const SPARE_MAX: usize = 8192;
const AT_EXECFN: u64 = 31;
/// Bytes below the stack pointer that a function may use.
const RED_ZONE: u64 = 128;
/// Most pointers that are listed.
const LISTED: usize = 4;

/// A change as the program sees it.
pub struct Told {
    /// `argument` or `environment`.
    pub record: &'static str,
    /// Number, or name of the variable.
    pub object: String,
    /// Before, if it was there.
    pub before: Option<Vec<u8>>,
    /// After, if it is there.
    pub after: Option<Vec<u8>>,
}

/// What the edits have done.
#[derive(Default)]
pub struct Edited {
    /// The strings.
    pub told: Vec<Told>,
    /// Memory that holds them and the pointers to them: start and end.
    pub places: Vec<(u64, u64)>,
}

/// Which edit is refused, or all of them together, and why.
pub type Refused = (Option<usize>, Refusal);

/// What is on the stack.
struct Layout {
    /// Address of `argv[0]`.
    argv: u64,
    /// Address of `envp[0]`.
    envp: u64,
    /// Pointers that fit before the terminating zero.
    slots: usize,
    start: u64,
    end: u64,
    /// Where the strings may reach.
    room_end: u64,
    args: Vec<(u64, Vec<u8>)>,
    envs: Vec<(u64, Vec<u8>)>,
    /// Main stack.
    stack: (u64, u64),
}

impl Layout {
    fn pointers_end(&self) -> u64 {
        let slots = (self.slots as u64).saturating_add(1);
        self.envp.saturating_add(slots.saturating_mul(8))
    }
}

/// A string to be: which one it was, and its bytes.
type Wanted = (Option<usize>, Vec<u8>);

fn changed(message: &str) -> Refusal {
    Refusal::new(
        format!("arguments and environment are not as the kernel has made them: {message}"),
        "The program has changed them itself (setproctitle(3) and the like): they cannot be edited without it.".to_owned(),
    )
}

/// The strings in `bytes`, which begin at `start`; `None` if the last has no end.
fn strings(bytes: &[u8], start: u64) -> Option<Vec<(u64, Vec<u8>)>> {
    if bytes.is_empty() {
        return Some(Vec::new());
    }
    let all = bytes.strip_suffix(&[0])?;
    let mut at = start;
    let string = |s: &[u8]| {
        let here = at;
        at = at.saturating_add(s.len() as u64).saturating_add(1);
        (here, s.to_vec())
    };
    Some(all.split(|b| *b == 0).map(string).collect())
}

fn words(bytes: &[u8]) -> Vec<u64> {
    let word = |b: &[u8]| b.first_chunk().map_or(0, |b| u64::from_le_bytes(*b));
    bytes.chunks_exact(8).map(word).collect()
}

macro_rules! have {
    ($result:expr) => {
        match $result? {
            Ok(bytes) => bytes,
            Err(why) => return Ok(Err(changed(&why))),
        }
    };
}

fn layout(draft: &mut Draft<'_>) -> Result<Result<Layout, Refusal>, Failure> {
    let Some(mm) = draft.find::<MmRecord<'_>>(|_| true)?.cloned() else {
        return Ok(Err(changed("the image has no address space")));
    };
    let of = |name| mm.number(name);
    let (start, middle, end) = (of("arg_start"), of("arg_end"), of("env_end"));
    if start > middle || middle != of("env_start") || middle > end {
        return Ok(Err(changed("they do not follow each other")));
    }
    let sp = of("start_stack");
    let stack = draft.memory.area_at(sp).map(|a| (a.start, a.end));
    let Some(stack) = stack.filter(|s| sp < start && end <= s.1) else {
        return Ok(Err(changed("they are not at the top of the stack")));
    };
    if end.saturating_sub(start) > STRINGS_MAX {
        return Ok(Err(changed("they are longer than exec allows")));
    }
    let len = |from: u64, to: u64| usize::try_from(to.saturating_sub(from)).unwrap_or(0);
    let args = have!(draft.read(start, len(start, middle)));
    let envs = have!(draft.read(middle, len(middle, end)));
    let (Some(args), Some(envs)) = (strings(&args, start), strings(&envs, middle)) else {
        return Ok(Err(changed("the last string has no end")));
    };
    // argc, argv, 0, envp, 0 and the beginning of the auxiliary vector.
    let count = args.len().saturating_add(envs.len()).saturating_add(3);
    let block = words(&have!(draft.read(sp, count.saturating_mul(8))));
    let mut expected = vec![args.len() as u64];
    expected.extend(args.iter().map(|a| a.0));
    expected.push(0);
    expected.extend(envs.iter().map(|e| e.0));
    expected.push(0);
    if block != expected {
        return Ok(Err(changed(
            "argc, argv and envp on the stack do not point at the strings",
        )));
    }
    let argv = sp.saturating_add(8);
    let envp = argv.saturating_add((args.len() as u64).saturating_add(1).saturating_mul(8));
    // Pointers that an earlier edit has freed are zero, and then comes the auxiliary vector.
    let auxv = words(mm.bytes("auxv"));
    let behind = envp.saturating_add((envs.len() as u64).saturating_add(1).saturating_mul(8));
    let mut slots = envs.len();
    let mut at = behind;
    loop {
        let pair = words(&have!(draft.read(at, 16)));
        if pair.first().is_some_and(|kind| *kind != 0) {
            if auxv.get(..2) != Some(&pair) {
                return Ok(Err(changed(
                    "the auxiliary vector is not behind the environment",
                )));
            }
            break;
        }
        let spare = slots.saturating_sub(envs.len());
        if at.saturating_add(24) > start || spare >= SPARE_MAX {
            return Ok(Err(changed(
                "the auxiliary vector is not behind the environment",
            )));
        }
        (slots, at) = (slots.saturating_add(1), at.saturating_add(8));
    }
    // Room that an earlier edit has left between the environment and the path behind it.
    let execfn = auxv.chunks_exact(2).find_map(|p| {
        (p.first() == Some(&AT_EXECFN))
            .then(|| p.last().copied())
            .flatten()
    });
    let mut room_end = end;
    if let Some(execfn) =
        execfn.filter(|e| end < *e && *e <= stack.1 && e.saturating_sub(end) <= SLACK_MAX)
    {
        let slack = have!(draft.read(end, len(end, execfn)));
        if slack.iter().all(|b| *b == 0) {
            room_end = execfn;
        }
    }
    Ok(Ok(Layout {
        argv,
        envp,
        slots,
        start,
        end,
        room_end,
        args,
        envs,
        stack,
    }))
}

fn name_of(string: &[u8]) -> &[u8] {
    string.split(|b| *b == b'=').next().unwrap_or(string)
}

fn quoted(text: &[u8]) -> String {
    format!("\"{}\"", escape::text(text))
}

/// Does one edit to the wanted strings.
fn want(kind: &Kind, args: &mut [Wanted], envs: &mut Vec<Wanted>) -> Result<(), Refusal> {
    match kind {
        Kind::Env { name, value } => {
            let string = [name, &b"="[..], value].concat();
            match envs.iter_mut().find(|e| name_of(&e.1) == name.as_slice()) {
                Some(old) => old.1 = string,
                None => envs.push((None, string)),
            }
        }
        Kind::Unset(name) => {
            let before = envs.len();
            envs.retain(|e| name_of(&e.1) != name.as_slice());
            if envs.len() == before {
                return Err(Refusal::new(
                    format!("the environment has no variable {}", quoted(name)),
                    "crimg mem strings shows the environment, at the top of [stack].".to_owned(),
                ));
            }
        }
        Kind::Arg { n, text } => {
            let count = args.len();
            let Some(arg) = args.get_mut(*n) else {
                return Err(Refusal::new(
                    format!("the process has no argument {n}: it has {count}"),
                    "The program has counted its arguments; none can be added.".to_owned(),
                ));
            };
            arg.1.clone_from(text);
        }
        Kind::Args(words) => {
            if words.len() != args.len() {
                return Err(Refusal::new(
                    format!(
                        "there are {} words, and the process has {} arguments",
                        words.len(),
                        args.len()
                    ),
                    "The program has counted its arguments: give as many.".to_owned(),
                ));
            }
            for (arg, word) in args.iter_mut().zip(words) {
                arg.1.clone_from(word);
            }
        }
        _ => {}
    }
    Ok(())
}

/// All edits of arguments and environment together: a variable may take the room of another that goes.
///
/// The outer result has [`Failure`], the inner the refusals by the position of their edit; no position:
/// all of them together.
pub fn apply(
    draft: &mut Draft<'_>,
    edits: &[(usize, &Kind)],
) -> Result<Result<Edited, Vec<Refused>>, Failure> {
    if edits.is_empty() {
        return Ok(Ok(Edited::default()));
    }
    let layout = match layout(draft)? {
        Ok(layout) => layout,
        Err(refusal) => return Ok(Err(vec![(None, refusal)])),
    };
    let wanted = |strings: &[(u64, Vec<u8>)], first: usize| -> Vec<Wanted> {
        let with = strings.iter().enumerate();
        with.map(|(n, s)| (Some(first.saturating_add(n)), s.1.clone()))
            .collect()
    };
    let mut args = wanted(&layout.args, 0);
    let mut envs = wanted(&layout.envs, layout.args.len());
    let mut refused = Vec::new();
    for (n, kind) in edits {
        if let Err(refusal) = want(kind, &mut args, &mut envs) {
            refused.push((Some(*n), refusal));
        }
    }
    if !refused.is_empty() {
        return Ok(Err(refused));
    }
    match fit(draft, &layout, &args, &envs)? {
        Ok(()) => Ok(Ok(Edited {
            told: told(&layout, &args, &envs),
            places: vec![
                (layout.argv, layout.pointers_end()),
                (layout.start, layout.room_end),
            ],
        })),
        Err(refusal) => Ok(Err(vec![(None, refusal)])),
    }
}

fn fit(
    draft: &mut Draft<'_>,
    l: &Layout,
    args: &[Wanted],
    envs: &[Wanted],
) -> Result<Result<(), Refusal>, Failure> {
    let mut bytes = Vec::new();
    let mut starts = Vec::new();
    let mut middle = l.start;
    for (n, (_, string)) in args.iter().chain(envs).enumerate() {
        starts.push(l.start.saturating_add(bytes.len() as u64));
        bytes.extend(string);
        bytes.push(0);
        if n.saturating_add(1) == args.len() {
            middle = l.start.saturating_add(bytes.len() as u64);
        }
    }
    let (need, room) = (bytes.len() as u64, l.room_end.saturating_sub(l.start));
    if need > room {
        return Ok(Err(Refusal::new(
            format!("arguments and environment need {need} bytes, and there are {room} on the stack of the process"),
            format!("Make {} bytes free with --unset, or take shorter values.", need.saturating_sub(room)),
        )));
    }
    if envs.len() > l.slots {
        return Ok(Err(Refusal::new(
            format!(
                "the environment would have {} variables, and there are pointers for {}",
                envs.len(),
                l.slots
            ),
            "Make one free with --unset, or give a variable that is there another value."
                .to_owned(),
        )));
    }
    // From the first old string on that is not where it was, pointers to strings are wrong.
    let new_start = |n: usize| {
        let mut all = args.iter().chain(envs).zip(&starts);
        all.find(|((old, _), _)| *old == Some(n))
            .map(|(_, start)| *start)
    };
    let stale = l
        .args
        .iter()
        .chain(&l.envs)
        .enumerate()
        .find(|(n, s)| new_start(*n) != Some(s.0));
    if let Some((_, (first, _))) = stale {
        let found = pointers(draft, l, *first)?;
        if !found.is_empty() {
            let list = found.join(", ");
            if !draft.options.move_strings {
                return Ok(Err(Refusal::new(
                    format!("strings on the stack would move, and the program has pointers to them elsewhere: {list}"),
                    "Take a value of the same length, or insist with --move-strings if those are no pointers.".to_owned(),
                )));
            }
            draft.note(format!(
                "strings on the stack have moved; what seem to be pointers to them stay: {list}"
            ));
        }
    }
    let end = l.start.saturating_add(need);
    let old = usize::try_from(l.end.saturating_sub(l.start)).unwrap_or(0);
    if bytes.len() < old {
        bytes.resize(old, 0);
    }
    let mut pointers = Vec::new();
    let (of_args, of_envs) = starts
        .split_at_checked(args.len())
        .unwrap_or((&starts, &[]));
    pointers.extend(of_args.iter().flat_map(|p| p.to_le_bytes()));
    pointers.extend([0; 8]);
    pointers.extend(of_envs.iter().flat_map(|p| p.to_le_bytes()));
    pointers.resize(
        pointers.len().saturating_add(
            l.slots
                .saturating_sub(of_envs.len())
                .saturating_add(1)
                .saturating_mul(8),
        ),
        0,
    );
    for (at, bytes) in [(l.start, &bytes), (l.argv, &pointers)] {
        if let Err(why) = draft.write(at, bytes)? {
            return Ok(Err(changed(&why)));
        }
    }
    if let Some(mm) = draft.find::<MmRecord<'_>>(|_| true)? {
        mm.set("arg_end", middle);
        mm.set("env_start", middle);
        mm.set("env_end", end);
    }
    let cmdline: Vec<u8> = args
        .iter()
        .flat_map(|a| a.1.iter().copied().chain([0]))
        .collect();
    if let Some(process) = draft.find::<ProcessRecord<'_>>(|_| true)? {
        process.put("args", cmdline.get(..4096).unwrap_or(&cmdline));
    }
    Ok(Ok(()))
}

/// Words elsewhere that look like pointers to the strings from `first` on: in memory, in registers.
fn pointers(draft: &Draft<'_>, l: &Layout, first: u64) -> Result<Vec<String>, Failure> {
    let stale = first..l.end;
    let own = l.argv..l.pointers_end();
    let section = cr_format::validate::MetaSet::section(&draft.file.image.sections, TASKS);
    let tasks: Vec<TaskRecord<'_>> = cr_format::records_of(section)
        .map_while(Result::ok)
        .collect();
    let mut found = Vec::new();
    let mut below = l.stack.0;
    for (n, task) in tasks.iter().enumerate() {
        let regs = crate::process::registers(task);
        for (name, value) in REG_NAMES.iter().zip(regs) {
            if stale.contains(&value) {
                found.push(format!("{name} of thread {}", task.tid));
            }
            // Below the stack pointer of the leader are the remains of functions that have returned.
            if n == 0 && *name == "rsp" && (l.stack.0..l.stack.1).contains(&value) {
                below = value.saturating_sub(RED_ZONE);
            }
        }
    }
    let dead = l.stack.0..below;
    let strings = l.start..l.end;
    let in_chunk = |entry| -> Result<Vec<u64>, Failure> {
        let data = draft.file.page_data(entry)?;
        let mut hits = Vec::new();
        data.for_each(|address, page| {
            if let Page::Data(bytes) = page {
                for (n, word) in words(bytes).into_iter().enumerate() {
                    let at = address.saturating_add((n as u64).saturating_mul(8));
                    let known = own.contains(&at) || dead.contains(&at) || strings.contains(&at);
                    if stale.contains(&word) && !known && hits.len() <= LISTED {
                        hits.push(at);
                    }
                }
            }
        });
        Ok(hits)
    };
    let hits: Vec<Vec<u64>> = draft
        .memory
        .chunks()
        .par_iter()
        .map(in_chunk)
        .collect::<Result<_, _>>()?;
    found.extend(hits.into_iter().flatten().map(|at| format!("{at:#x}")));
    if found.len() > LISTED {
        found.truncate(LISTED);
        found.push("…".to_owned());
    }
    Ok(found)
}

fn told(l: &Layout, args: &[Wanted], envs: &[Wanted]) -> Vec<Told> {
    let mut out = Vec::new();
    for (n, ((_, old), (_, new))) in l.args.iter().zip(args).enumerate() {
        if old != new {
            out.push(Told {
                record: "argument",
                object: n.to_string(),
                before: Some(old.clone()),
                after: Some(new.clone()),
            });
        }
    }
    let value = |string: &[u8]| {
        let name = name_of(string);
        string
            .get(name.len().saturating_add(1)..)
            .unwrap_or(&[])
            .to_vec()
    };
    for (n, (_, old)) in l.envs.iter().enumerate() {
        let n = n.saturating_add(l.args.len());
        let new = envs.iter().find(|e| e.0 == Some(n));
        if new.is_none_or(|new| new.1 != *old) {
            out.push(Told {
                record: "environment",
                object: escape::text(name_of(old)),
                before: Some(value(old)),
                after: new.map(|new| value(&new.1)),
            });
        }
    }
    for (_, new) in envs.iter().filter(|e| e.0.is_none()) {
        out.push(Told {
            record: "environment",
            object: escape::text(name_of(new)),
            before: None,
            after: Some(value(new)),
        });
    }
    out
}
