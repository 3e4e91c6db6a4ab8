// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Symbol tables of ELF files.

use crate::elf::{u16_at, u32_at, u64_at, Object, Source};

const SYM_LEN: u64 = 24;
/// Most bytes of a symbol table or its strings.
const MOST: u64 = 512 << 20;
/// Longest name that is taken.
const NAME_MAX: usize = 4096;
/// Symbols in front of an address that are looked at; they can lie in each other.
const NEAR: usize = 64;
const SHT_SYMTAB: u32 = 2;
const SHT_DYNSYM: u32 = 11;

#[derive(Clone, Copy, Debug)]
struct Symbol {
    address: u64,
    size: u64,
    /// In the strings.
    name: u32,
    /// Better ones win at one address.
    rank: u8,
}

/// The named functions and data of a file, ascending.
#[derive(Default)]
pub struct Table {
    symbols: Vec<Symbol>,
    strings: Vec<u8>,
}

impl Table {
    /// Reads `.symtab` or, without one, `.dynsym`; empty without both.
    pub fn read(object: &Object, source: &dyn Source) -> Self {
        [SHT_SYMTAB, SHT_DYNSYM]
            .iter()
            .find_map(|kind| Self::of(object, source, *kind).filter(|t| !t.symbols.is_empty()))
            .unwrap_or_default()
    }

    /// Has it got any?
    pub fn is_empty(&self) -> bool {
        self.symbols.is_empty()
    }

    fn of(object: &Object, source: &dyn Source, kind: u32) -> Option<Self> {
        let table = object.sections.iter().find(|s| s.kind == kind)?;
        let strings = object.sections.get(usize::try_from(table.link).ok()?)?;
        let bytes = source.bytes(table.offset, table.size, MOST)?;
        let strings = source.bytes(strings.offset, strings.size, MOST)?;
        let len = usize::try_from(SYM_LEN).ok()?;
        let mut symbols: Vec<Symbol> = bytes.chunks_exact(len).filter_map(symbol).collect();
        symbols.sort_by_key(|s| (s.address, s.rank));
        Some(Self { symbols, strings })
    }

    /// Name and distance of the symbol that holds an address of the file; not demangled.
    pub fn find(&self, address: u64) -> Option<(&str, u64)> {
        let after = self.symbols.partition_point(|s| s.address <= address);
        let near = self.symbols.get(after.saturating_sub(NEAR)..after)?;
        let next = self.symbols.get(after).map_or(u64::MAX, |s| s.address);
        let holds = |s: &&Symbol| {
            // One without a size reaches up to the next.
            let within = address.checked_sub(s.address);
            within.is_some_and(|d| d < s.size || (s.size == 0 && address < next))
        };
        let best = near.iter().rev().find(holds)?;
        // Of several names the one that people use: libc's functions have others with underscores.
        let names = near.iter().rev().filter(|s| s.address == best.address);
        let (_, name) = names
            .filter(holds)
            .filter_map(|s| self.name(s).map(|n| (s.rank, n)))
            .min_by_key(|(rank, n)| {
                let underscores = n.len().saturating_sub(n.trim_start_matches('_').len());
                (u8::MAX.saturating_sub(*rank), underscores)
            })?;
        Some((name, address.checked_sub(best.address)?))
    }

    fn name(&self, symbol: &Symbol) -> Option<&str> {
        let name = self.strings.get(usize::try_from(symbol.name).ok()?..)?;
        let name = name.get(..NAME_MAX).unwrap_or(name);
        let name = name.split(|b| *b == 0).next()?;
        let name = std::str::from_utf8(name).ok().filter(|n| !n.is_empty())?;
        // Without the version: `name@@GLIBC_2.17`.
        let plain = name.split('@').next().filter(|n| !n.is_empty());
        Some(plain.unwrap_or(name))
    }
}

fn symbol(bytes: &[u8]) -> Option<Symbol> {
    let info = *bytes.get(4)?;
    let section = u16_at(bytes, 6)?;
    let (kind, binding) = (info & 15, info >> 4);
    // NOTYPE, OBJECT, FUNC, GNU_IFUNC; defined.
    let rank = match kind {
        2 | 10 => 2,
        1 => 1,
        0 => 0,
        _ => return None,
    };
    if section == 0 {
        return None;
    }
    // A global name before a local one.
    let rank = rank * 2 + u8::from(binding != 0);
    Some(Symbol {
        address: u64_at(bytes, 8).filter(|a| *a != 0)?,
        size: u64_at(bytes, 16)?,
        name: u32_at(bytes, 0)?,
        rank,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sym(address: u64, size: u64, name: u32) -> Symbol {
        Symbol {
            address,
            size,
            name,
            rank: 0,
        }
    }

    #[test]
    fn an_address_belongs_to_the_symbol_that_reaches_it() {
        let table = Table {
            symbols: vec![
                sym(10, 90, 1),
                sym(20, 5, 3),
                sym(200, 0, 5),
                sym(300, 1, 99),
            ],
            strings: b"\0a\0b\0c\0".to_vec(),
        };
        assert_eq!(table.find(9), None);
        assert_eq!(table.find(10), Some(("a", 0)));
        assert_eq!(table.find(24), Some(("b", 4)));
        assert_eq!(table.find(25), Some(("a", 15)), "behind the inner one");
        assert_eq!(table.find(100), None, "between two");
        assert_eq!(table.find(299), Some(("c", 99)), "no size");
        assert_eq!(table.find(300), None, "a name out of bounds");
        assert_eq!(table.find(u64::MAX), None);
    }

    #[test]
    fn of_several_names_the_one_without_underscores_is_taken() {
        let mut table = Table {
            symbols: vec![sym(10, 9, 1), sym(10, 9, 4), sym(10, 9, 6)],
            strings: b"\0__\0g\0_g\0".to_vec(),
        };
        assert_eq!(table.find(12), Some(("g", 2)));
        // But a global one before a local one.
        table.symbols[2].rank = 1;
        assert_eq!(table.find(12), Some(("_g", 2)));
    }
}
