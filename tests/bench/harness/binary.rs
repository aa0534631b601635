//! The tool's file: its size, and whether it is linked statically and stripped, as its ELF headers tell.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use object::Endianness;
use object::elf::{FileHeader64, PT_INTERP, SHT_SYMTAB};
use object::read::elf::{FileHeader as _, ProgramHeader as _, SectionHeader as _};
use serde::Serialize;

/// What there is to say.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Binary {
    /// Size of the file.
    pub bytes: u64,
    /// It asks for no interpreter.
    pub is_static: bool,
    /// It has no symbol table.
    pub is_stripped: bool,
}

/// Reads it.
pub fn read(file: &Path) -> Result<Binary> {
    let reading = || format!("reading {} as a 64-bit ELF file", file.display());
    let bytes = fs::read(file).with_context(reading)?;
    let header = FileHeader64::<Endianness>::parse(bytes.as_slice()).with_context(reading)?;
    let endian = header.endian().with_context(reading)?;
    let segments = header.program_headers(endian, bytes.as_slice()).with_context(reading)?;
    let sections = header.section_headers(endian, bytes.as_slice()).with_context(reading)?;
    Ok(Binary {
        bytes: bytes.len() as u64,
        is_static: segments.iter().all(|segment| segment.p_type(endian) != PT_INTERP),
        is_stripped: sections.iter().all(|section| section.sh_type(endian) != SHT_SYMTAB),
    })
}
