#!/bin/sh
# rust-wasm-debian.sh trixie|bookworm DIR: for a Debian machine whose Rust has no wasm target and no way to get one.
# Unpacks Debian's own Rust into DIR (nothing is installed, nothing outside DIR is written) and leaves DIR/rustc, which
# has the standard library of wasm32-unknown-unknown; DIR/ready comes last. The mirror is the one that apt is set up with.
#
# trixie:   rustc 1.85 with its ready standard library; about 200 MB to download, 20 seconds.
# bookworm: rustc-web and its source, of the machine's own release; builds the library, about 140 MB and 100 seconds.
set -eu
release=$1
dir=$(realpath -m "$2")
target=wasm32-unknown-unknown

unpack() {
    for package in *.deb; do
        dpkg -x "$package" "$dir"
        rm "$package"
    done
}

# Debian's Rust has no linker for wasm of its own; the one of the toolchain at hand will do.
link_linkers() {
    host=$(rustc -vV | sed -n 's/^host: //p')
    ln -sfn "$(rustc --print sysroot)/lib/rustlib/$host/bin" "$dir/usr/lib/rustlib/x86_64-unknown-linux-gnu/bin"
}

trixie() {
    mkdir -p "$dir/apt/lists/partial" "$dir/apt/archives/partial"
    cat /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list 2>/dev/null |
        sed -n 's/^URIs: *//p; s/^deb \(\[[^]]*\] \)\?\([^ ]*\) .*/\2/p' | grep '/debian/*$' | head -1 |
        sed 's|.*|deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] & trixie main|' >"$dir/apt/sources.list"
    options="-o Dir::State=$dir/apt -o Dir::Cache=$dir/apt -o Dir::Etc::sourcelist=$dir/apt/sources.list
        -o Dir::Etc::sourceparts=- -o Dir::State::status=/dev/null -o APT::Sandbox::User=root
        -o Acquire::Languages=none -qq"
    # shellcheck disable=SC2086 # The options are words.
    apt-get $options update
    # shellcheck disable=SC2086
    apt-get $options download rustc libstd-rust-dev libstd-rust-1.85 libstd-rust-dev-wasm32 libllvm19 \
        libc6 libgcc-s1 libstdc++6 zlib1g libzstd1 libxml2 libedit2 libffi8 libtinfo6 libbsd0 libmd0 libz3-4 \
        liblzma5 libicu76
    unpack
    # With trixie's own loader and libraries, since those of an older release are too old for it.
    cat >"$dir/rustc" <<WRAPPER
#!/bin/sh
exec "$dir/usr/lib64/ld-linux-x86-64.so.2" --argv0 "$dir/usr/bin/rustc" \\
    --library-path "$dir/usr/lib/x86_64-linux-gnu" "$dir/usr/bin/rustc" --sysroot "$dir/usr" "\$@"
WRAPPER
    chmod +x "$dir/rustc"
    link_linkers
}

bookworm() {
    std=$(apt-cache depends libstd-rust-web-dev | sed -n 's/.*Depends: \(libstd-rust-web-[0-9.]*\)$/\1/p' | head -1)
    llvm=$(apt-cache depends "$std" | sed -n 's/.*Depends: \(libllvm[0-9]*\)$/\1/p' | head -1)
    apt-get -qq -o APT::Sandbox::User=root download rustc-web libstd-rust-web-dev rust-web-src "$std" "$llvm"
    unpack
    cat >"$dir/rustc" <<WRAPPER
#!/bin/sh
LD_LIBRARY_PATH="$dir/usr/lib/x86_64-linux-gnu" exec "$dir/usr/bin/rustc" "\$@"
WRAPPER
    chmod +x "$dir/rustc"
    link_linkers
    mkdir -p "$dir/std/src"
    cd "$dir/std"
    : >src/lib.rs
    printf '[package]\nname = "std-for-wasm"\nversion = "0.0.0"\nedition = "2021"\n[workspace]\n' >Cargo.toml
    # Guests are linked with lto, which wants the bitcode of the library too.
    RUSTC="$dir/rustc" RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Cembed-bitcode=yes cargo build -q --release \
        -Zbuild-std=std,panic_abort --target "$target" --target-dir "$dir/std/target"
    lib="$dir/usr/lib/rustlib/$target/lib"
    mkdir -p "$lib"
    cp "target/$target/release/deps/"*.rlib "target/$target/release/deps/"*.rmeta "$lib"
    rm -f "$lib"/libstd_for_wasm-*
    cd /
    rm -rf "$dir/std"
}

rm -rf "$dir"
mkdir -p "$dir/packages"
cd "$dir/packages"
"$release"
cd /
rm -rf "$dir/packages" "$dir/apt"
"$dir/rustc" -V
touch "$dir/ready"
