//! The part of the kernel's BTF (include/uapi/linux/btf.h) that is asked for. Parsed as a whole, its 5 MB become 70 MB of types, and two parsers need
//! it: one that tells where fields are, and aya's, which wants the number of a hook's type in the kernel's own count.

use std::collections::BTreeMap;

use hashbrown::HashSet;

/// Two extracts of one kernel's BTF.
pub struct Extracts {
    /// What was asked for, with numbers of its own.
    pub alone: Vec<u8>,
    /// The same with the kernel's numbers: every other type has a nameless placeholder.
    pub in_place: Vec<u8>,
}

/// What is asked for.
pub struct BtfQuery<'a> {
    /// Structures and enumerations, with all that they consist of. What a pointer among it points to is left out.
    pub whole: HashSet<&'a str>,
    /// Functions, and tracepoints' types (`btf_trace_…`), with their arguments. Of a structure that an argument points to only the name is kept.
    pub called: HashSet<String>,
}

const MAGIC: u16 = 0xeb9f;

/// `struct btf_header`.
const HEADER: usize = 24;

/// `struct btf_type`: name, kind and number of elements, size or type.
const TYPE: usize = 12;

/// `BTF_KIND_…`.
mod kind {
    pub const PTR: u32 = 2;
    pub const ARRAY: u32 = 3;
    pub const STRUCT: u32 = 4;
    pub const UNION: u32 = 5;
    pub const ENUM: u32 = 6;
    pub const FWD: u32 = 7;
    pub const TYPEDEF: u32 = 8;
    pub const VOLATILE: u32 = 9;
    pub const CONST: u32 = 10;
    pub const RESTRICT: u32 = 11;
    pub const FUNC: u32 = 12;
    pub const FUNC_PROTO: u32 = 13;
    pub const TYPE_TAG: u32 = 18;
    pub const ENUM64: u32 = 19;
}

/// Words that follow a type; `None` for a kind that is newer than this.
fn words(kind: u32, elements: usize) -> Option<usize> {
    match kind {
        kind::PTR | kind::FWD..=kind::FUNC | 16 | kind::TYPE_TAG => Some(0),
        // An integer's encoding, a variable's linkage, the component of a declaration's tag.
        1 | 14 | 17 => Some(1),
        kind::ARRAY => Some(3),
        kind::ENUM | kind::FUNC_PROTO => Some(2 * elements),
        // 15: a section.
        kind::STRUCT | kind::UNION | 15 | kind::ENUM64 => Some(3 * elements),
        _ => None,
    }
}

/// Makes both. `None` where the bytes are no BTF, or of a kind that is newer than this: then there is no way around parsing all of it.
pub fn extract(btf: &[u8], asked: &BtfQuery<'_>) -> Option<Extracts> {
    let types = Types::read(btf)?;
    let mut kept = BTreeMap::new();
    for (id, found) in types.all() {
        let name = types.name(found.name).unwrap_or_default();
        let whole = matches!(found.kind(), kind::STRUCT | kind::ENUM | kind::ENUM64) && asked.whole.contains(name);
        let called = matches!(found.kind(), kind::FUNC | kind::TYPEDEF) && asked.called.contains(name);
        if whole || called {
            types.keep(id, if called { As::Argument } else { As::Part }, &mut kept)?;
        }
    }
    let alone: BTreeMap<u32, u32> = kept.keys().copied().zip(1..).collect();
    Some(Extracts {
        alone: types.write(alone.keys().map(|id| kept.get(id).map(|kept| (*id, *kept))), |id| {
            alone.get(&id).copied().unwrap_or(0)
        })?,
        in_place: types.write(types.all().map(|(id, _)| kept.get(&id).map(|kept| (id, *kept))), |id| id)?,
    })
}

/// What a type is kept for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum As {
    /// What an argument points to: a structure's name is all there is to know.
    Argument,
    /// Something consists of it.
    Part,
}

/// How much of a type is kept.
#[derive(Clone, Copy, Default)]
struct Kept {
    /// Of a structure: its members. Of a pointer: nothing.
    part: bool,
    /// Of a pointer: what it points to.
    argument: bool,
}

/// A type.
#[derive(Clone, Copy)]
struct Type<'a> {
    name: u32,
    info: u32,
    /// Its size, or the type that it refers to.
    word: u32,
    rest: &'a [u8],
}

impl Type<'_> {
    fn kind(&self) -> u32 {
        self.info >> 24 & 0x1f
    }

    fn words(&self) -> impl Iterator<Item = u32> {
        self.rest.chunks_exact(4).filter_map(|word| Some(u32::from_ne_bytes(word.try_into().ok()?)))
    }

    fn refers(&self) -> bool {
        use kind::*;
        matches!(self.kind(), PTR | TYPEDEF | VOLATILE | CONST | RESTRICT | FUNC | FUNC_PROTO | TYPE_TAG)
    }

    fn is_structure(&self) -> bool {
        matches!(self.kind(), kind::STRUCT | kind::UNION)
    }

    /// Which of the words that follow are names, and which are types.
    fn shape(&self) -> (usize, &'static [bool], &'static [bool]) {
        match self.kind() {
            kind::STRUCT | kind::UNION => (3, &[true, false, false], &[false, true, false]),
            kind::ENUM => (2, &[true, false], &[false, false]),
            kind::ENUM64 => (3, &[true, false, false], &[false; 3]),
            kind::FUNC_PROTO => (2, &[true, false], &[false, true]),
            kind::ARRAY => (3, &[false; 3], &[true, true, false]),
            _ => (1, &[false], &[false]),
        }
    }
}

/// BTF that is read where it lies.
struct Types<'a> {
    /// Where each type begins; that of the first, which is number 1, comes first.
    at: Vec<u32>,
    types: &'a [u8],
    strings: &'a [u8],
}

impl<'a> Types<'a> {
    fn read(btf: &'a [u8]) -> Option<Self> {
        let magic = u16::from_ne_bytes(btf.get(..2)?.try_into().ok()?);
        let header = usize::try_from(word(btf, 4)?).ok()?;
        let part = |at: usize| -> Option<&'a [u8]> {
            let (from, len) = (usize::try_from(word(btf, at)?).ok()?, usize::try_from(word(btf, at + 4)?).ok()?);
            btf.get(header.checked_add(from)?..)?.get(..len)
        };
        let (types, strings) = (part(8)?, part(16)?);
        if magic != MAGIC {
            return None;
        }
        let mut read = Self { at: Vec::new(), types, strings };
        let mut at = 0;
        while at < types.len() {
            let info = word(types, at + 4)?;
            read.at.push(u32::try_from(at).ok()?);
            at += TYPE + 4 * words(info >> 24 & 0x1f, usize::try_from(info & 0xffff).ok()?)?;
        }
        (at == types.len()).then_some(read)
    }

    fn all(&self) -> impl Iterator<Item = (u32, Type<'a>)> {
        (1..).zip(&self.at).filter_map(|(id, _)| Some((id, self.get(id)?)))
    }

    fn get(&self, id: u32) -> Option<Type<'a>> {
        let at = usize::try_from(*self.at.get(usize::try_from(id).ok()?.checked_sub(1)?)?).ok()?;
        let (name, info, refers) = (word(self.types, at)?, word(self.types, at + 4)?, word(self.types, at + 8)?);
        let follow = words(info >> 24 & 0x1f, usize::try_from(info & 0xffff).ok()?)?;
        let rest = self.types.get(at + TYPE..at + TYPE + 4 * follow)?;
        Some(Type { name, info, word: refers, rest })
    }

    fn name(&self, at: u32) -> Option<&'a str> {
        let from = self.strings.get(usize::try_from(at).ok()?..)?;
        std::str::from_utf8(from.split(|byte| *byte == 0).next()?).ok()
    }

    /// Keeps a type, and what it consists of. Each is looked at twice at most.
    fn keep(&self, id: u32, wanted: As, kept: &mut BTreeMap<u32, Kept>) -> Option<()> {
        let mut work = vec![(id, wanted)];
        while let Some((id, wanted)) = work.pop() {
            if id == 0 {
                continue;
            }
            let how = kept.entry(id).or_default();
            let seen = match wanted {
                As::Part => std::mem::replace(&mut how.part, true),
                As::Argument => std::mem::replace(&mut how.argument, true),
            };
            if seen {
                continue;
            }
            let found = self.get(id)?;
            let followed = match found.kind() {
                kind::PTR => wanted == As::Argument,
                kind::STRUCT | kind::UNION => wanted == As::Part,
                _ => true,
            };
            if !followed {
                continue;
            }
            if found.refers() {
                work.push((found.word, wanted));
            }
            let (width, _, types) = found.shape();
            let parts = found.words().zip((0..width).cycle()).filter(|(_, n)| types.get(*n) == Some(&true));
            work.extend(parts.map(|(part, _)| (part, wanted)));
        }
        Some(())
    }

    /// Writes types, and a placeholder for each `None`. `new`: the number that a type gets.
    fn write(&self, kept: impl Iterator<Item = Option<(u32, Kept)>>, new: impl Fn(u32) -> u32) -> Option<Vec<u8>> {
        let mut types: Vec<u8> = Vec::new();
        let mut strings = Strings::default();
        let mut put = |word: u32| types.extend(word.to_ne_bytes());
        for kept in kept {
            let Some((id, how)) = kept else {
                [0, kind::FWD << 24, 0].into_iter().for_each(&mut put);
                continue;
            };
            let found = self.get(id)?;
            put(strings.place(self.name(found.name)?));
            if found.is_structure() && !how.part {
                put(kind::FWD << 24 | u32::from(found.kind() == kind::UNION) << 31);
                put(0);
                continue;
            }
            put(found.info);
            put(match found.kind() {
                kind::PTR if !how.argument => 0,
                _ if found.refers() => new(found.word),
                _ => found.word,
            });
            let (width, names, refers) = found.shape();
            for (word, n) in found.words().zip((0..width).cycle()) {
                put(match (names.get(n), refers.get(n)) {
                    (Some(true), _) => strings.place(self.name(word)?),
                    (_, Some(true)) => new(word),
                    _ => word,
                });
            }
        }
        let length = u32::try_from(types.len()).ok()?;
        let mut bytes = Vec::with_capacity(HEADER + types.len() + strings.text.len());
        bytes.extend(MAGIC.to_ne_bytes());
        // The version, and no flags.
        bytes.extend([1, 0]);
        for word in [u32::try_from(HEADER).ok()?, 0, length, length, u32::try_from(strings.text.len()).ok()?] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(types);
        bytes.extend(strings.text);
        Some(bytes)
    }
}

/// Names, each once.
struct Strings<'a> {
    text: Vec<u8>,
    places: BTreeMap<&'a str, u32>,
}

impl Default for Strings<'_> {
    fn default() -> Self {
        Self { text: vec![0], places: BTreeMap::from([("", 0)]) }
    }
}

impl<'a> Strings<'a> {
    fn place(&mut self, name: &'a str) -> u32 {
        let Self { text, places } = self;
        *places.entry(name).or_insert_with(|| {
            // Less than what it was cut from, whose places fit.
            let at = u32::try_from(text.len()).unwrap_or_default();
            text.extend(name.bytes().chain([0]));
            at
        })
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}
