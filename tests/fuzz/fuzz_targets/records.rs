//! Any bytes, as a record, as a stream of records, and as a recording.
#![no_main]

#[path = "../entry.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| entry::all(bytes));
