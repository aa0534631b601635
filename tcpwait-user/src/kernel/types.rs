//! The running kernel's types, from its BTF: where fields are, and which arguments a tracepoint has.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::ErrorKind,
    path::Path,
};

use anyhow::{Context, Result, anyhow, bail};
use btfparse::{Integer32Value, Member, MemberList, Offset, Readable, TypeInformation, TypeVariant};
use tcpwait_wire::config::{self, ABSENT, OFFSETS};

use super::{HOOKS, Hook, btf::BtfQuery};

/// Structures that say something by what they have, and the enumeration of reasons to drop a segment.
const SNAPSHOT: &str = "tp_transition_snapshot";
const SPINLOCK: &str = "spinlock";
const INTERRUPT_STACK: &str = "irq_stack";
const DROP_REASON: &str = "skb_drop_reason";

/// Parsed BTF.
pub struct KernelTypes {
    types: TypeInformation,
    structures: BTreeMap<String, u32>,
}

/// Reads `/sys/kernel/btf/vmlinux`.
///
/// # Errors
/// There is none.
pub fn of_running_kernel() -> Result<Vec<u8>> {
    const PATH: &str = "/sys/kernel/btf/vmlinux";
    std::fs::read(PATH).map_err(|e| match e.kind() {
        ErrorKind::NotFound if Path::new("/sys/kernel").exists() => anyhow!(
            "this kernel has no {PATH} (BTF, its structure layouts): it needs Linux 5.15 or later, built with \
             CONFIG_DEBUG_INFO_BTF=y (as current distributions do)"
        ),
        ErrorKind::NotFound => anyhow!("there is no {PATH} (BTF, the kernel's structure layouts): mount /sys"),
        _ => anyhow!("reading {PATH} (BTF, the kernel's structure layouts): {e}"),
    })
}

/// What is asked of the types here, and by aya of the hooks.
pub fn asked() -> BtfQuery<'static> {
    let structures = OFFSETS.iter().map(|field| field.structure);
    BtfQuery {
        whole: structures.chain([SNAPSHOT, SPINLOCK, INTERRUPT_STACK, DROP_REASON]).collect(),
        called: HOOKS.iter().flat_map(names).collect(),
    }
}

/// The functions of a hook, and what the type of a tracepoint is called.
fn names(hook: &Hook) -> impl Iterator<Item = String> {
    let along = hook.along.iter().map(|along| along.name.to_owned());
    [hook.name.to_owned(), format!("btf_trace_{}", hook.name)].into_iter().chain(along)
}

struct Bytes<'a>(&'a [u8]);

impl Readable for Bytes<'_> {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> btfparse::Result<()> {
        let from = usize::try_from(offset).ok();
        match from.and_then(|from| self.0.get(from..from.checked_add(buffer.len())?)) {
            Some(bytes) => {
                buffer.copy_from_slice(bytes);
                Ok(())
            }
            None => Err(btfparse::Error::new(btfparse::ErrorKind::IOError, "BTF ends early")),
        }
    }
}

impl KernelTypes {
    /// Parses BTF as the kernel exports it.
    ///
    /// # Errors
    /// It is not BTF.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let types = TypeInformation::new(&Bytes(bytes)).map_err(|e| anyhow!("{}", e.message()))?;
        if let Some(id) = circle(types.get()) {
            bail!("type {id} consists of itself");
        }
        // A name can belong to a structure and to a function; the library's own look-up keeps whichever comes last.
        let structures = types
            .get()
            .iter()
            .filter(|(_, variant)| matches!(variant, TypeVariant::Struct(_)))
            .filter_map(|(id, _)| Some((types.name_of(*id)?, *id)))
            .collect();
        Ok(Self { types, structures })
    }

    /// Offset of a member in bytes.
    ///
    /// # Errors
    /// The kernel has no such structure or member, or it is a bit field.
    pub fn offset(&self, structure: &str, member: &str) -> Result<u32> {
        self.locate(structure, member).map(|(_, offset)| offset)
    }

    /// A member's type and its offset in bytes.
    fn locate(&self, structure: &str, member: &str) -> Result<(u32, u32)> {
        let id = self.structures.get(structure).with_context(|| {
            format!(
                "this kernel's BTF has no struct {structure}, which tcpwait knows from Linux 5.15 to 7.x; \
                     please report this with `uname -r`"
            )
        })?;
        match self.types.offset_of(*id, member) {
            Ok((found, Offset::ByteOffset(bytes))) => Ok((found, bytes)),
            Ok((_, Offset::BitOffsetAndSize(..))) => bail!("{structure}.{member} is a bit field on this kernel"),
            Err(e) => bail!(
                "this kernel's struct {structure} has no {member} ({}), which tcpwait knows from Linux 5.15 to 7.x; \
                 please report this with `uname -r`",
                e.message()
            ),
        }
    }

    /// Where a bit field begins, in bits.
    fn bit(&self, structure: &str, member: &str) -> Option<u32> {
        let id = self.structures.get(structure)?;
        match self.types.offset_of(*id, member).ok()? {
            (_, Offset::BitOffsetAndSize(bits, _)) => Some(bits),
            (_, Offset::ByteOffset(_)) => None,
        }
    }

    /// Where a field is; an optional one that became a pointer counts as absent, since nothing follows it.
    fn field(&self, field: &config::Offset) -> Result<u32> {
        if field.bits {
            return Ok(self.bit(field.structure, field.member).unwrap_or(ABSENT));
        }
        let mut missing = None;
        for member in field.member.split('|') {
            match self.locate(field.structure, member) {
                Ok((found, _))
                    if field.optional
                        && !field.followed
                        && matches!(self.types.from_id(found), Some(TypeVariant::Ptr(_))) => {}
                Ok((_, offset)) => return Ok(offset),
                Err(why) => missing = Some(why),
            }
        }
        match missing {
            Some(missing) if !field.optional => Err(missing),
            _ => Ok(ABSENT),
        }
    }

    /// Every offset of [`OFFSETS`], in its order.
    ///
    /// # Errors
    /// The first field that is missing, of those that are needed.
    pub fn offsets(&self) -> Result<Vec<(&'static str, u32)>> {
        OFFSETS.iter().map(|field| Ok((field.global, self.field(field)?))).collect()
    }

    /// Whether this kernel has all of these fields, by the names of their globals.
    pub fn has_all(&self, globals: &[&str]) -> bool {
        let wanted = OFFSETS.iter().filter(|field| globals.contains(&field.global));
        wanted.into_iter().all(|field| self.field(field).is_ok_and(|offset| offset != ABSENT))
    }

    /// Whether tracepoints leave preemption on: from Linux 7.0 on their probes are kept by a kind of SRCU (`srcu_gp` of `kernel/tracepoint.c`) while they run, and
    /// no longer by preemption being off.
    pub fn has_preemptible_tracepoints(&self) -> bool {
        self.offset(SNAPSHOT, "srcu_gp").is_ok()
    }

    /// Whether softirqs are threads that others may preempt: on PREEMPT_RT a spinlock is an rt_mutex (`include/linux/spinlock_types.h`).
    pub fn has_threaded_softirqs(&self) -> bool {
        self.offset(SPINLOCK, "lock.waiters").is_ok()
    }

    /// Size of a task's kernel stack in bytes (`THREAD_SIZE`), which no type has itself. On x86 interrupts have stacks of the same size (`struct irq_stack`;
    /// both are doubled by KASAN); on arm64 it is 16 KiB, or a page where that is more. Others: the least there is.
    pub fn stack_bytes(&self, page_bytes: u64) -> u64 {
        const LEAST: u64 = 16 << 10;
        let of_interrupts = self.structures.get(INTERRUPT_STACK).and_then(|id| match self.types.from_id(*id)? {
            TypeVariant::Struct(structure) => u64::try_from(*structure.size()).ok(),
            _ => None,
        });
        of_interrupts.unwrap_or_default().max(page_bytes).max(LEAST)
    }

    /// How many arguments a function has; `None` when the kernel has none of this name.
    pub fn arguments_of(&self, function: &str) -> Option<u32> {
        let (_, variant) = self.types.get().iter().find(|(id, v)| {
            matches!(v, TypeVariant::Func(_)) && self.types.name_of(**id).as_deref() == Some(function)
        })?;
        let TypeVariant::Func(function) = variant else { return None };
        let TypeVariant::FuncProto(proto) = self.types.from_id(*function.prototype_tid())? else { return None };
        u32::try_from(proto.parameter_list().len()).ok()
    }

    /// The number of a reason for which a segment is dropped (`enum skb_drop_reason`).
    pub fn drop_reason(&self, name: &str) -> Option<u32> {
        self.enumerator(DROP_REASON, name)
    }

    /// The number of an enumerator; `None` when the kernel's enumeration has none of this name.
    fn enumerator(&self, enumeration: &str, name: &str) -> Option<u32> {
        let of = |variant: &TypeVariant| match variant {
            TypeVariant::Enum(found) if found.name().as_deref() == Some(enumeration) => {
                found.named_value_list().iter().find(|value| value.name == name).map(|value| value.value)
            }
            _ => None,
        };
        self.types.get().values().find_map(of).map(|value| match value {
            Integer32Value::Unsigned(number) => number,
            Integer32Value::Signed(number) => number.cast_unsigned(),
        })
    }

    /// Whether a tracepoint's argument (counted from 0) is a pointer to this structure.
    pub fn tracepoint_arg_is(&self, tracepoint: &str, arg: usize, structure: &str) -> bool {
        self.tracepoint_arg(tracepoint, arg).is_some_and(|name| name == structure)
    }

    /// Name of the structure that a tracepoint's argument points to.
    fn tracepoint_arg(&self, tracepoint: &str, arg: usize) -> Option<String> {
        let typedef = self.types.id_of(&format!("btf_trace_{tracepoint}"))?;
        let proto = match self.types.from_id(self.types.pointee_tid(typedef).ok()?)? {
            TypeVariant::FuncProto(proto) => proto,
            _ => return None,
        };
        // The first parameter is the probe's private data.
        let parameter = proto.parameter_list().get(arg.checked_add(1)?)?.tid();
        let mut pointee = self.types.pointee_tid(parameter).ok()?;
        while let TypeVariant::Const(plain) = self.types.from_id(pointee)? {
            pointee = *plain.tid();
        }
        self.types.name_of(pointee)
    }
}

/// A type that leads back to itself through names, qualifiers or unnamed members, if there is one. The library's look-up would follow
/// it for ever; a compiler makes none.
fn circle(types: &BTreeMap<u32, TypeVariant>) -> Option<u32> {
    let mut left = BTreeSet::new();
    let mut entered = BTreeSet::new();
    for root in types.keys() {
        let mut work = vec![(*root, false)];
        while let Some((id, leave)) = work.pop() {
            if leave {
                left.insert(id);
            } else if entered.insert(id) {
                work.push((id, true));
                work.extend(types.get(&id).map(leads_to).unwrap_or_default().into_iter().map(|next| (next, false)));
            } else if !left.contains(&id) && work.contains(&(id, true)) {
                return Some(id);
            }
        }
    }
    None
}

/// The types that a look-up of a member's name goes on to.
fn leads_to(variant: &TypeVariant) -> Vec<u32> {
    let unnamed = |members: &MemberList| members.iter().filter(|m| m.name().is_none()).map(Member::tid).collect();
    match variant {
        TypeVariant::Typedef(other) => vec![*other.tid()],
        TypeVariant::Const(other) => vec![*other.tid()],
        TypeVariant::Volatile(other) => vec![*other.tid()],
        TypeVariant::Restrict(other) => vec![*other.tid()],
        TypeVariant::Fwd(other) => vec![*other.tid()],
        TypeVariant::Struct(structure) => unnamed(structure.member_list()),
        TypeVariant::Union(union) => unnamed(union.member_list()),
        _ => Vec::new(),
    }
}
