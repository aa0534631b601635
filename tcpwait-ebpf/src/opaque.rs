//! What the compiler is kept from knowing.

use core::arch::asm;

/// Zero, which the compiler is not told: it would call a function that clears a few bytes one by one, which costs as much as writing
/// the rest of the record.
#[inline(always)]
pub fn zero() -> u64 {
    let zero;
    // SAFETY: one instruction that loads a number.
    unsafe { asm!("{zero} = 0", zero = out(reg) zero, options(pure, nomem, nostack)) };
    zero
}
