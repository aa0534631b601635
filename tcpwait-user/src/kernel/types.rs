//! The running kernel's types, from its BTF: where fields are, and which arguments a tracepoint has.

use anyhow::{Context, Result, bail};
use tcpwait_wire::config::{self, ABSENT, OFFSETS};

use super::btf::{Btf, Place, kind};

/// Parsed BTF.
pub struct KernelTypes(Btf);

impl KernelTypes {
    /// Reads `/sys/kernel/btf/vmlinux`.
    ///
    /// # Errors
    /// There is none, or it cannot be parsed.
    pub fn of_running_kernel() -> Result<Self> {
        const PATH: &str = "/sys/kernel/btf/vmlinux";
        let bytes = std::fs::read(PATH).with_context(|| {
            format!(
                "reading {PATH}, which tells where this kernel keeps its fields: \
                 the kernel must be built with CONFIG_DEBUG_INFO_BTF=y (every current distribution's is), and /sys must be mounted"
            )
        })?;
        Btf::parse(bytes).map(Self).with_context(|| format!("parsing {PATH}"))
    }

    /// Parses BTF as the kernel exports it.
    ///
    /// # Errors
    /// It is not BTF.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        Btf::parse(bytes.to_vec()).map(Self)
    }

    /// The BTF that this is from, for who parses it for something else.
    pub fn bytes(&self) -> &[u8] {
        self.0.bytes()
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
        let id = self.0.structure(structure).with_context(|| {
            format!(
                "this kernel's BTF has no struct {structure}, which tcpwait knows from Linux 5.15 to 7.x; \
                     please report this with `uname -r`"
            )
        })?;
        match self.0.member(id, member) {
            Ok(Place { field: true, .. }) => bail!("{structure}.{member} is a bit field on this kernel"),
            Ok(Place { id, bits, field: false }) => Ok((id, bits / 8)),
            Err(e) => bail!(
                "this kernel's struct {structure} has no {member} ({e}), which tcpwait knows from Linux 5.15 to 7.x; \
                 please report this with `uname -r`"
            ),
        }
    }

    /// Where a bit field begins, in bits.
    fn bit(&self, structure: &str, member: &str) -> Option<u32> {
        let place = self.0.member(self.0.structure(structure)?, member).ok()?;
        place.field.then_some(place.bits)
    }

    /// Where a field is; an optional one that became a pointer counts as absent, since nothing follows it.
    fn field(&self, field: &config::Offset) -> Result<u32> {
        if field.bits {
            return Ok(self.bit(field.structure, field.member).unwrap_or(ABSENT));
        }
        let mut missing = None;
        for member in field.member.split('|') {
            match self.locate(field.structure, member) {
                Ok((found, _)) if field.optional && self.0.get(found).is_some_and(|found| found.kind == kind::PTR) => {}
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

    /// How many arguments a function has; `None` when the kernel has none of this name.
    pub fn arguments_of(&self, function: &str) -> Option<u32> {
        let function = self.0.find(kind::FUNC, function)?;
        let prototype = self.0.get(function.word).filter(|found| found.kind == kind::FUNC_PROTO)?;
        u32::try_from(self.0.parameters(prototype).len()).ok()
    }

    /// Whether a tracepoint's argument (counted from 0) is a pointer to this structure.
    pub fn tracepoint_arg_is(&self, tracepoint: &str, arg: usize, structure: &str) -> bool {
        self.tracepoint_arg(tracepoint, arg).is_some_and(|name| name == structure.as_bytes())
    }

    /// Name of the structure that a tracepoint's argument points to.
    fn tracepoint_arg(&self, tracepoint: &str, arg: usize) -> Option<&[u8]> {
        let pointer = self.0.find(kind::TYPEDEF, &format!("btf_trace_{tracepoint}"))?.word;
        let prototype = self.0.pointee(pointer).filter(|found| found.kind == kind::FUNC_PROTO)?;
        // The first parameter is the probe's private data.
        let parameter = self.0.parameters(prototype).nth(arg.checked_add(1)?)??;
        self.0.pointee(parameter).filter(|found| found.kind == kind::STRUCT).map(|found| self.0.name(found))
    }
}
