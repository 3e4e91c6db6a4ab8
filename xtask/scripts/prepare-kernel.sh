#!/bin/bash
# Inside the build tree: unpacks the kernel source and makes what out-of-tree Rust modules need, with the stock
# configuration and the stock symbol versions. Debian's headers package has no Rust metadata, so it must be made.
# usage: prepare-kernel.sh KERNEL_RELEASE SOURCE_NAME
set -euo pipefail
release=$1 source=$2
headers=/usr/src/linux-headers-$release
cd /usr/src
if [ ! -e "$source/.unpacked" ]; then
    rm -rf "$source" unpack
    mkdir unpack
    tar -C unpack -xf "$source.tar.xz"
    mv "unpack/$source" "$source"
    rmdir unpack
    touch "$source/.unpacked"
fi
cd "$source"
cp "$headers/.config" .config
RUST_LIB_SRC=$(echo /usr/src/rustc-*/library)
export RUST_LIB_SRC
kmake() {
    make CC=x86_64-linux-gnu-gcc-14 HOSTCC=gcc-14 KERNELRELEASE="$release" "$@"
}
kmake rustavailable
kmake olddefconfig
# The stock kernel was built with exactly these tools, or its options would differ here.
if ! diff <(grep -v '^#' "$headers/.config") <(grep -v '^#' .config); then
    echo "the configuration differs from that of the stock kernel: the compilers of this tree are not those it was built with" >&2
    exit 1
fi
kmake -j"$(nproc)" prepare modules_prepare
cp "$headers/Module.symvers" .
