// SPDX-License-Identifier: GPL-2.0
//! The restart stub: the only code that a half-built process executes.
//!
//! ```text
//! ENTRY    syscall                           make the system call in the registers
//! TELL     mov rdx, rax ... syscall; ud2     ioctl(device_fd, STEP, result), which does not come back here
//! CONFINE  syscall                           the same for seccomp(2), which judges the next call, TELL's included:
//!          test rax, rax; jnz TELL           a failure is told,
//!          pause; jmp .-2                    after a success the thread waits to be sent on to TELL
//! ```

/// Bytes of the stub.
pub const LEN: usize = 34;
/// Where a system call is made, bytes from the start.
pub const ENTRY: u64 = 0;
/// Where the result in `rax` is told.
pub const TELL: u64 = 2;
/// Where a system call is made behind which none may follow if it succeeds.
pub const CONFINE: u64 = 23;

/// Machine code (x86-64); touches neither memory nor stack.
pub fn code(device_fd: u32, step: u32) -> [u8; LEN] {
    let [f0, f1, f2, f3] = device_fd.to_le_bytes();
    let [s0, s1, s2, s3] = step.to_le_bytes();
    [
        0x0f, 0x05, // syscall
        0x48, 0x89, 0xc2, // mov rdx, rax
        0xbe, s0, s1, s2, s3, // mov esi, step
        0xbf, f0, f1, f2, f3, // mov edi, device_fd
        0x31, 0xc0, // xor eax, eax
        0xb0, 0x10, // mov al, 16 (ioctl)
        0x0f, 0x05, // syscall
        0x0f, 0x0b, // ud2
        0x0f, 0x05, // syscall
        0x48, 0x85, 0xc0, // test rax, rax
        0x75, 0xe4, // jnz TELL
        0xf3, 0x90, // pause
        0xeb, 0xfc, // jmp to the pause
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_in_place() {
        let c = code(0x11223344, 0xc008c740);
        assert_eq!(c.get(6..10), Some(&[0x40, 0xc7, 0x08, 0xc0][..]));
        assert_eq!(c.get(11..15), Some(&[0x44, 0x33, 0x22, 0x11][..]));
    }

    #[test]
    fn jumps_lead_where_they_should() {
        let c = code(0, 0);
        let target = |at: usize| {
            let distance = i64::from(c[at + 1] as i8);
            u64::try_from(at as i64 + 2 + distance)
        };
        let entry = CONFINE as usize;
        assert_eq!(c[entry..entry + 2], c[..2]);
        assert_eq!(c[entry + 5], 0x75);
        assert_eq!(target(entry + 5), Ok(TELL));
        assert_eq!(c[entry + 9], 0xeb);
        assert_eq!(target(entry + 9), Ok(CONFINE + 7));
    }
}
