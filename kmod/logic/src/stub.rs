// SPDX-License-Identifier: GPL-2.0
//! The restart stub: the only code that a half-built process executes.

/// Bytes of the stub.
pub const LEN: usize = 23;

/// Machine code (x86-64): make the system call in the registers, then `ioctl(device_fd, step, result)`;
/// touches neither memory nor stack. The ioctl never returns to the instruction behind it, a trap.
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
}
