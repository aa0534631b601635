//! BTF (include/uapi/linux/btf.h), read where it stands: a kernel has some 100,000 types, of which a few dozen are asked for, and
//! making something of each would take longer than all else at start. Knows nothing of which are asked for.

use anyhow::{Context, Result, bail, ensure};
use hashbrown::HashMap;

const MAGIC: u16 = 0xeb9f;

/// How many types one look-up may pass, and so how deep it goes: a kernel's pass a few dozen, damaged ones go round for ever.
const STEPS: usize = 500;

/// `BTF_KIND_…`, of those that a look-up meets.
pub mod kind {
    /// A number.
    pub const INT: u32 = 1;
    /// A pointer.
    pub const PTR: u32 = 2;
    /// An array.
    pub const ARRAY: u32 = 3;
    /// A structure.
    pub const STRUCT: u32 = 4;
    /// A union.
    pub const UNION: u32 = 5;
    /// An enumeration.
    pub const ENUM: u32 = 6;
    /// Another name for a type.
    pub const TYPEDEF: u32 = 8;
    /// `volatile`.
    pub const VOLATILE: u32 = 9;
    /// `const`.
    pub const CONST: u32 = 10;
    /// `restrict`.
    pub const RESTRICT: u32 = 11;
    /// A function.
    pub const FUNC: u32 = 12;
    /// What a function takes.
    pub const FUNC_PROTO: u32 = 13;
    /// An attribute, such as `__rcu`.
    pub const TYPE_TAG: u32 = 18;
    /// An enumeration of 64-bit values.
    pub const ENUM64: u32 = 19;
}

/// BTF, and where each type begins in it.
pub struct Btf {
    bytes: Vec<u8>,
    /// Type 1 is the first.
    types: Vec<usize>,
    strings: (usize, usize),
    /// By name; of several with one name the last.
    structures: HashMap<Vec<u8>, u32>,
}

/// A type, as far as all kinds have it.
#[derive(Clone, Copy)]
pub struct Type<'a> {
    /// Where its name is.
    name: u32,
    /// One of [`kind`].
    pub kind: u32,
    /// Bytes that it takes, or the type that it refers to.
    pub word: u32,
    /// The words behind it: members, parameters and the like.
    rest: &'a [u8],
    has_widths: bool,
}

/// Where a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its type.
    pub id: u32,
    /// Bits from the start of the structure that was asked.
    pub bits: u32,
    /// Whether it is a bit field.
    pub field: bool,
}

impl Btf {
    /// Finds where types begin.
    ///
    /// # Errors
    /// It is not BTF of this machine's byte order, ends early, or has types of a kind that is not known here.
    pub fn parse(bytes: Vec<u8>) -> Result<Self> {
        let section = |at: usize| -> Option<(usize, usize)> {
            let header = word(&bytes, 4)? as usize;
            let start = header.checked_add(word(&bytes, at)? as usize)?;
            let end = start.checked_add(word(&bytes, at + 4)? as usize)?;
            (end <= bytes.len()).then_some((start, end))
        };
        ensure!(bytes.get(..2) == Some(&MAGIC.to_ne_bytes()), "it is not BTF of this machine");
        let (mut at, end) = section(8).context("BTF ends early")?;
        let strings = section(16).context("BTF ends early")?;
        let mut btf = Self { bytes, types: Vec::new(), strings, structures: HashMap::new() };
        while at < end {
            let found = btf.read(at).context("BTF ends early, or is of a kind that this program does not know")?;
            let next = at + HEAD + found.rest.len();
            ensure!(next <= end, "BTF ends within a type");
            let structure = (found.kind == kind::STRUCT).then(|| btf.name(found).to_vec());
            btf.types.push(at);
            if let Some(name) = structure {
                btf.structures.insert(name, u32::try_from(btf.types.len())?);
            }
            at = next;
        }
        Ok(btf)
    }

    /// As the kernel exports it.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// A type by its number; `None` for `void` too.
    pub fn get(&self, id: u32) -> Option<Type<'_>> {
        self.read(*self.types.get(usize::try_from(id).ok()?.checked_sub(1)?)?)
    }

    /// Its name; empty if it has none.
    pub fn name(&self, found: Type<'_>) -> &[u8] {
        self.strings(found.name).split(|byte| *byte == 0).next().unwrap_or_default()
    }

    /// A structure by its name.
    pub fn structure(&self, name: &str) -> Option<u32> {
        self.structures.get(name.as_bytes()).copied()
    }

    /// The first type of this kind and name.
    pub fn find(&self, kind: u32, name: &str) -> Option<Type<'_>> {
        let mut all = self.types.iter().filter_map(|at| self.read(*at));
        all.find(|found| found.kind == kind && self.is_called(found.name, name))
    }

    /// What is behind other names, `const` and the like; `None` also where that leads nowhere.
    pub fn plain(&self, mut id: u32) -> Option<(u32, Type<'_>)> {
        for _ in 0..STEPS {
            let found = self.get(id)?;
            match found.kind {
                kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG => id = found.word,
                _ => return Some((id, found)),
            }
        }
        None
    }

    /// What a pointer points to.
    pub fn pointee(&self, id: u32) -> Option<Type<'_>> {
        let (_, pointer) = self.plain(id).filter(|(_, found)| found.kind == kind::PTR)?;
        self.plain(pointer.word).map(|(_, found)| found)
    }

    /// Where a member is, by a path such as `ns.inum` or `regs[1]`; members of unnamed members count as the structure's own.
    ///
    /// # Errors
    /// There is no such member.
    pub fn member(&self, structure: u32, path: &str) -> Result<Place> {
        let mut steps = 0;
        let mut place = Place { id: structure, bits: 0, field: false };
        for part in path.split('.') {
            let (name, index) = match part.strip_suffix(']').and_then(|part| part.split_once('[')) {
                Some((name, index)) => (name, Some(index.parse().with_context(|| format!("{part} is no element"))?)),
                None => (part, None),
            };
            let found = self.named(place.id, name, &mut steps);
            let found = found.with_context(|| format!("there is no member {name}"))?;
            place = Place { bits: place.bits.checked_add(found.bits).context("it is out of range")?, ..found };
            if let Some(index) = index {
                let (id, bits) = self.element(place.id, index).with_context(|| format!("there is no {part}"))?;
                place = Place { id, bits: place.bits.checked_add(bits).context("it is out of range")?, field: false };
            }
        }
        if steps >= STEPS {
            bail!("its types consist of themselves");
        }
        Ok(place)
    }

    fn named(&self, id: u32, name: &str, steps: &mut usize) -> Option<Place> {
        *steps += 1;
        let (_, found) = self.plain(id).filter(|_| *steps < STEPS)?;
        for (member, place) in self.members(found) {
            if !self.is_called(member, "") {
                if self.is_called(member, name) {
                    return Some(place);
                }
            } else if let Some(inner) = self.named(place.id, name, steps) {
                return Some(Place { bits: place.bits.checked_add(inner.bits)?, ..inner });
            }
        }
        None
    }

    /// Where the names of a structure's or union's members are, and the members.
    fn members<'a>(&self, of: Type<'a>) -> impl Iterator<Item = (u32, Place)> + use<'a> {
        let members = matches!(of.kind, kind::STRUCT | kind::UNION).then_some(of.rest).unwrap_or_default();
        members.chunks_exact(12).filter_map(move |member| {
            let offset = word(member, 8)?;
            let (bits, width) = if of.has_widths { (offset & 0xff_ffff, offset >> 24) } else { (offset, 0) };
            let field = width != 0 || !bits.is_multiple_of(8);
            Some((word(member, 0)?, Place { id: word(member, 4)?, bits, field }))
        })
    }

    /// An element of an array: its type, and where it is, in bits.
    fn element(&self, array: u32, index: u32) -> Option<(u32, u32)> {
        let (_, array) = self.plain(array).filter(|(_, found)| found.kind == kind::ARRAY)?;
        let (id, count) = (word(array.rest, 0)?, word(array.rest, 8)?);
        let (_, element) = self.plain(id)?;
        let bytes = match element.kind {
            kind::INT | kind::STRUCT | kind::UNION | kind::ENUM | kind::ENUM64 => element.word,
            kind::PTR => u32::try_from(size_of::<usize>()).ok()?,
            _ => return None,
        };
        (index < count).then_some((id, bytes.checked_mul(8)?.checked_mul(index)?))
    }

    /// Types of the parameters of a `FUNC_PROTO`.
    pub fn parameters<'a>(&self, prototype: Type<'a>) -> impl ExactSizeIterator<Item = Option<u32>> + use<'a> {
        prototype.rest.chunks_exact(8).map(|parameter| word(parameter, 4))
    }

    fn read(&self, at: usize) -> Option<Type<'_>> {
        let head = self.bytes.get(at..at.checked_add(HEAD)?)?;
        let info = word(head, 4)?;
        let (kind, elements) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
        // By kind: what follows.
        let rest = match kind {
            2 | 7..=12 | 16 | 18 => 0,
            1 | 14 | 17 => 4,
            3 => 12,
            4 | 5 | 15 | 19 => 12 * elements,
            6 | 13 => 8 * elements,
            _ => return None,
        };
        let from = at + HEAD;
        let rest = self.bytes.get(from..from.checked_add(rest)?)?;
        Some(Type { name: word(head, 0)?, kind, word: word(head, 8)?, rest, has_widths: info >> 31 == 1 })
    }

    /// The names from one on, each with a NUL behind it.
    fn strings(&self, at: u32) -> &[u8] {
        let (start, end) = self.strings;
        let from = usize::try_from(at).ok().and_then(|at| start.checked_add(at));
        from.and_then(|from| self.bytes.get(from..end)).unwrap_or_default()
    }

    fn is_called(&self, at: u32, name: &str) -> bool {
        self.strings(at).strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&0))
    }
}

/// Bytes of what all kinds begin with.
const HEAD: usize = 12;

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at.checked_add(4)?)?.try_into().ok().map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const NAMES: &[u8] = b"\0u64\0s\0regs\0flags\0inner\0";

    /// `struct s { u64 regs[31]; struct { u64 flags : 3; u64 inner; }; }`, where `flags` begins two bits later than it would.
    fn example() -> Btf {
        let info = |kind: u32, elements: u32| kind << 24 | elements;
        #[rustfmt::skip]
        let types = [
            1, info(kind::INT, 0), 8, 64,
            0, info(kind::ARRAY, 0), 0, 1, 1, 31,
            0, info(kind::STRUCT, 2) | 1 << 31, 16, 12, 1, 3 << 24 | 2, 18, 1, 64,
            5, info(kind::STRUCT, 2), 264, 7, 2, 0, 0, 3, 248 * 8,
        ];
        let types: Vec<u8> = types.into_iter().flat_map(u32::to_ne_bytes).collect();
        let lengths = [24, 0, types.len(), types.len(), NAMES.len()];
        let lengths = lengths.into_iter().flat_map(|length| u32::try_from(length).unwrap().to_ne_bytes());
        let head = MAGIC.to_ne_bytes().into_iter().chain([1, 0]).chain(lengths);
        Btf::parse(head.chain(types).chain(NAMES.iter().copied()).collect()).unwrap()
    }

    #[test]
    fn elements_and_members_of_unnamed_members() {
        let btf = example();
        let at = |path| btf.member(btf.structure("s").unwrap(), path).map(|place| (place.bits, place.field)).ok();
        assert_eq!(at("regs"), Some((0, false)));
        assert_eq!(at("regs[1]"), Some((64, false)));
        assert_eq!(at("regs[30]"), Some((30 * 64, false)));
        assert_eq!(at("flags"), Some((248 * 8 + 2, true)), "a bit field");
        assert_eq!(at("inner"), Some((256 * 8, false)));
        for wrong in ["regs[31]", "regs[x]", "inner[0]", "regs.x", "reg", "regs1", ""] {
            assert_eq!(at(wrong), None, "{wrong}");
        }
    }
}
