// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! A sound image as a model, changed by a script: every checksum, length and count is right, so that only
//! the rules decide. The script is the fuzzer's input; each step takes what bytes it needs, zeros behind the end.

use super::image::one_image;
use crate::synth::{self, Image, Pages, Rec};

struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((b, rest)) => {
                self.0 = rest;
                *b
            }
            None => 0,
        }
    }
    fn below(&mut self, n: usize) -> usize {
        usize::from(self.byte()) % n.max(1)
    }
    /// A number of as many bytes as its first one says.
    fn number(&mut self) -> u64 {
        let n = self.below(9);
        (0..n).fold(0, |v, _| v << 8 | u64::from(self.byte()))
    }
    fn pick<'v, T>(&mut self, list: &'v mut [T]) -> Option<&'v mut T> {
        let n = self.below(list.len());
        list.get_mut(n)
    }
}

/// A script of changes, then the properties of images.
pub fn model(data: &[u8]) {
    one_image(&changed(data).bytes());
}

/// One of the sound images, chosen by the first byte, changed as the rest of the script says.
pub fn changed(script: &[u8]) -> Image {
    let (first, rest) = script.split_first().unwrap_or((&0, &[]));
    let mut image = match first % 4 {
        0 => synth::process(),
        1 => synth::compressed(),
        2 => synth::tree(),
        _ => synth::resources(),
    };
    change(&mut image, rest);
    image
}

/// At most eight changes of a model.
pub fn change(image: &mut Image, script: &[u8]) {
    let mut script = Script(script);
    for _ in 0..8 {
        if script.0.is_empty() {
            break;
        }
        step(image, &mut script);
    }
}

fn step(image: &mut Image, s: &mut Script<'_>) {
    match s.below(12) {
        0 => image.features = s.byte().into(),
        1 => image.chunk_max = 1 << s.below(21),
        2 => {
            if let Some(section) = s.pick(&mut image.sections) {
                section.1 = !section.1;
            }
        }
        3 => {
            let n = s.below(image.sections.len());
            image.sections.remove(n);
        }
        4 => {
            let (from, to) = (s.below(image.pages.len()), s.below(image.pages.len()));
            if !image.pages.is_empty() {
                image.pages.swap(from, to);
            }
        }
        5 => {
            if let Some(pages) = s.pick(&mut image.pages) {
                page_step(pages, s);
            }
            // A chunk has a run; the writer of the tests takes its start for the header.
            image.pages.retain(|p| !p.runs.is_empty());
        }
        6 => {
            if let Some(r) = s.pick(&mut image.stats) {
                record_step(r, s);
            }
        }
        7 => {
            if let Some(section) = s.pick(&mut image.sections) {
                section.0 = s.number() as u16;
            }
        }
        8 => {
            if let Some(section) = s.pick(&mut image.sections) {
                let (from, to) = (s.below(section.2.len()), s.below(section.2.len()));
                if let Some(r) = section.2.get(from).cloned() {
                    section.2.insert(to, r);
                }
            }
        }
        9 => {
            if let Some(section) = s.pick(&mut image.sections) {
                let n = s.below(section.2.len());
                if n < section.2.len() {
                    section.2.remove(n);
                }
            }
        }
        10 if !image.others.is_empty() => {
            if let Some(other) = s.pick(&mut image.others) {
                match s.below(8) {
                    0 => other.0 = s.byte().into(),
                    1 => other.1 = s.byte().into(),
                    _ => {
                        if let Some(r) = s.pick(&mut other.2) {
                            record_step(r, s);
                        }
                    }
                }
            }
        }
        _ => {
            if let Some(section) = s.pick(&mut image.sections) {
                if let Some(r) = s.pick(&mut section.2) {
                    record_step(r, s);
                }
            }
        }
    }
}

fn record_step(r: &mut Rec, s: &mut Script<'_>) {
    match s.below(8) {
        0 => r.id = s.number() as u32,
        1 => r.kind = s.byte().into(),
        2 => {
            let n = s.below(r.fields.len());
            if n < r.fields.len() {
                r.fields.remove(n);
            }
        }
        3 => {
            if let Some(f) = s.pick(&mut r.fields) {
                (f.wire, f.hint) = (s.byte(), s.byte());
            }
        }
        4 => {
            if let Some(f) = s.pick(&mut r.fields) {
                let n = s.number() as usize % 5000;
                f.payload.resize(n, s.byte());
            }
        }
        5 => {
            if let Some(f) = s.pick(&mut r.fields) {
                let n = s.below(f.payload.len());
                if let Some(b) = f.payload.get_mut(n) {
                    *b = s.byte();
                }
            }
        }
        _ => {
            if let Some(f) = s.pick(&mut r.fields) {
                if matches!(f.wire, 1 | 2) {
                    f.payload = s.number().to_le_bytes().to_vec();
                }
            }
        }
    }
}

fn page_step(p: &mut Pages, s: &mut Script<'_>) {
    match s.below(8) {
        0 => p.owner = s.number() as u32,
        1 => p.section = s.number() as u16,
        2 => {
            let n = s.below(p.runs.len());
            p.runs.remove(n);
        }
        3 => {
            if let Some(run) = s.pick(&mut p.runs) {
                run.0 = run.0.wrapping_add(s.number() << 12);
            }
        }
        4 => {
            if let Some(run) = s.pick(&mut p.runs) {
                (run.1, run.2) = (s.byte().into(), s.below(5) as u16);
            }
        }
        5 => {
            let run = (s.number() << 12, u32::from(s.byte()), s.below(5) as u16);
            p.runs.push(run);
        }
        6 => {
            p.sources.resize(p.runs.len(), 0);
            let n = s.below(p.runs.len());
            let base = p.runs.first().map_or(0, |r| r.0);
            p.sources[n] = base.wrapping_add(s.number() << 12);
        }
        _ => {
            let mut frame = synth::Frame::of(&p.data);
            let n = s.below(frame.blocks.len());
            if let Some(b) = frame.blocks.get_mut(n) {
                (b.0, b.1) = (
                    s.below(4) as u32,
                    b.1.wrapping_add(s.number() as u32) & 0x1f_ffff,
                );
            }
            p.frame = Some(frame.bytes());
        }
    }
    // The data are as long as the runs say, as far as that is small.
    let pages: u32 = p.runs.iter().filter(|r| r.2 == 0).map(|r| r.1).sum();
    if pages < 20 && p.data.len() != pages as usize * 4096 {
        p.data.resize(pages as usize * 4096, 7);
        if p.frame.is_some() {
            p.frame = Some(synth::frame(&p.data));
        }
    }
}
