# The package set. Each package is made from Debian's .debs, pinned by the hashes that
# build-cache wrote, and runs from the store alone. In the guest nothing here is built:
# the same expressions have the same store paths and come out of the local binary cache,
# as NixOS gets them from cache.nixos.org.
{ debsJson ? /var/lib/reference/debs.json
, debsDir ? "/var/lib/reference/debs"
}:
let
  lib = import ./lib.nix;
  inherit (lib) concatMap concatStringsSep filter head optional unique;

  pinned = lib.fromJSON (lib.readFile debsJson);
  # A kernel's package has the kernel's version in its name: look it up by pattern.
  find = suite: pattern:
    let hits = filter (d: d.suite == suite && lib.match pattern d.package != null) pinned;
    in if hits == [ ] then throw "no .deb of ${suite} matches ${pattern}" else head hits;

  # Runs in the sandbox-less builder of build-cache only, hence Debian's own sh.
  deb =
    { pname
    , debs ? [ (find "trixie" (lib.replaceStrings [ "+" "." ] [ "[+]" "[.]" ] pname)) ]
    , deps ? [ ]
    , keep ? ""
    , finish ? ""
    , static ? false
    , passthru ? { }
    }:
    let
      closure = unique (concatMap (d: [ d ] ++ d.closure) (deps ++ optional (!static && pname != "libc6") pkgs.glibc));
      drv = derivation {
        name = "${pname}-${(head debs).version}";
        system = "x86_64-linux";
        builder = "/bin/sh";
        args = [ ./build-support/deb.sh ];
        debs = concatMap (d: [ d.sha256 d.file ]) debs;
        inherit debsDir keep finish;
        interpreter = lib.optionalString (!static) "${pkgs.glibc}/lib/ld-linux-x86-64.so.2";
        runpath = lib.optionalString (!static) (lib.concatMapStringsSep ":" (d: "${d}/lib") closure);
      };
    in
    drv // { inherit pname closure; version = (head debs).version; } // passthru;

  # A file tree from texts of this repository, made by one process of the store's Python.
  python = name: script: attrs: derivation ({
    inherit name;
    system = "x86_64-linux";
    builder = "${pkgs.python3}/bin/python3";
    # -I: nothing of the environment; -S: no site module; both save start-up time.
    args = [ "-I" "-S" "-B" script ];
    __structuredAttrs = true;
  } // attrs);

  # The same with a module of nixguest, for what is worth testing.
  pythonModule = name: module: attrs: python name "-c" (attrs // {
    args = [
      "-ISB"
      "-c"
      "import sys; sys.path.insert(0, '${pkgs.nixguest}'); from nixguest import ${module}; ${module}.main()"
    ];
  });

  lib' = name: deps: deb { pname = name; inherit deps; };

  kernel = { suite, image, others ? [ ], pname }:
    let imageDeb = find suite image; in
    deb {
      inherit pname;
      debs = [ imageDeb ] ++ map (find suite) others;
      static = true; # nothing to patch: a kernel has no interpreter
      finish = ''
        # Until 6.12 the image is in /boot, from 7.x on with the modules.
        for image in boot/vmlinuz-* lib/modules/*/vmlinuz; do
          [ ! -e "$image" ] || mv "$image" bzImage
        done
        rm -rf boot share
        version=$(basename lib/modules/*)
        # What every guest loads lies there unpacked: xz takes its time without KVM.
        find lib/modules -name 'virtio*.ko.xz' -o -name '*failover.ko.xz' -o -name 'nf*.ko.xz' \
          -o -name '*_tables.ko.xz' -o -name '*crc32c*.ko.xz' -o -name 'v*vsock*.ko.xz' \
          -o -name 'vmw_vmci.ko.xz' -o -name 'autofs4.ko.xz' | xargs xz --decompress
        depmod --basedir "$out" "$version"
      '';
      passthru = { modDirVersion = lib.head (lib.match "linux-[a-z]+-(.*)" imageDeb.package); };
    };

  pkgs = rec {
    inherit lib python pythonModule;
    system = "x86_64-linux";

    # the C library, called as in nixpkgs
    glibc = deb {
      pname = "libc6";
      static = true; # must not be patched: it is what the others are patched to
    } // { closure = [ ]; };
    libgcc = lib' "libgcc-s1" [ ];
    libstdcxx = lib' "libstdc++6" [ libgcc ];

    tinfo = deb { pname = "libtinfo6"; };
    ncurses = deb { pname = "libncursesw6"; deps = [ tinfo ]; };
    attr = lib' "libattr1" [ ];
    acl = lib' "libacl1" [ attr ];
    pcre2 = lib' "libpcre2-8-0" [ ];
    libselinux = lib' "libselinux1" [ pcre2 ];
    libcap = lib' "libcap2" [ ];
    libcap-ng = lib' "libcap-ng0" [ ];
    gmp = lib' "libgmp10" [ ];
    zlib = lib' "zlib1g" [ ];
    zstd = lib' "libzstd1" [ ];
    xz = lib' "liblzma5" [ ];
    bzip2 = lib' "libbz2-1.0" [ ];
    expat = lib' "libexpat1" [ ];
    libffi = lib' "libffi8" [ ];
    openssl = lib' "libssl3t64" [ zlib zstd ];
    jemalloc = lib' "libjemalloc2" [ libstdcxx libgcc ];
    libevent = lib' "libevent-core-2.1-7t64" [ ];
    libsystemd = lib' "libsystemd0" [ libcap ];
    audit = lib' "libaudit1" [ libcap-ng ];
    apparmor = lib' "libapparmor1" [ ];
    libblkid = lib' "libblkid1" [ ];
    libmount = lib' "libmount1" [ libblkid libselinux ];
    libxcrypt = lib' "libcrypt1" [ ];
    pam = lib' "libpam0g" [ audit ];
    libseccomp = lib' "libseccomp2" [ ];
    libproc2 = lib' "libproc2-0" [ libsystemd ];

    bash = deb { pname = "bash"; deps = [ tinfo ]; finish = "ln -sf bash bin/sh"; };
    coreutils = deb { pname = "coreutils"; deps = [ acl attr libselinux libcap gmp openssl ]; };
    findutils = deb { pname = "findutils"; deps = [ libselinux ]; };
    gnugrep = deb { pname = "grep"; deps = [ pcre2 ]; };
    gnused = deb { pname = "sed"; deps = [ acl libselinux ]; };
    procps = deb { pname = "procps"; deps = [ libproc2 ncurses tinfo libsystemd ]; };
    tmux = deb { pname = "tmux"; deps = [ libsystemd tinfo libevent jemalloc ]; };
    # What activation decrypts secrets with.
    age = deb { pname = "age"; keep = "bin/age"; };
    busybox = deb { pname = "busybox-static"; static = true; };

    # `revision` makes another store path with the same content, so that a configuration
    # can replace PID 1's own binary (systemd.package) without another upstream release.
    systemdRevision = revision: deb {
      pname = "systemd";
      debs = [ (find "trixie" "systemd") (find "trixie" "libsystemd-shared") ];
      deps = [
        apparmor libselinux audit libmount libseccomp acl libblkid libcap libxcrypt
        openssl pam zlib zstd xz
      ];
      # The rest of systemd is used from the base (docs/explanation/reference-guest.md).
      keep = concatStringsSep " " [
        "lib/systemd/systemd" "lib/systemd/systemd-executor" "lib/systemd/system"
        "lib/systemd/libsystemd-core-257.so" "lib/systemd/libsystemd-shared-257.so"
      ];
      # Upstream's units live in example/ in nixpkgs, too: they are a quarry, not in use.
      finish = ''
        mkdir -p example/systemd share
        mv lib/systemd/system example/systemd/system
        echo ${toString revision} > share/revision
      '';
    };
    systemd = systemdRevision 1;

    python3 = deb {
      pname = "python3.13-minimal";
      debs = map (find "trixie")
        [ "python3[.]13-minimal" "libpython3[.]13-minimal" "libpython3[.]13-stdlib" ];
      deps = [ zlib expat openssl libffi xz bzip2 ];
      # Store files have the time stamp 1, so only unchecked .pyc files are ever valid.
      finish = ''
        rm -rf share lib/valgrind lib/python3.13/test lib/python3.13/lib-dynload/*test*
        for module in _curses _curses_panel _dbm _gdbm _sqlite3 _uuid readline xxlimited; do
          rm -f lib/python3.13/lib-dynload/$module.*
        done
        ln -s python3.13 bin/python3
        PYTHONHASHSEED=0 /usr/bin/python3 -I -m compileall -q -j 1 \
          --invalidation-mode unchecked-hash "$out/lib/python3.13"
      '';
    };
    jeepney = deb {
      pname = "python3-jeepney";
      static = true;
      finish = ''
        rm -rf share
        mv lib/python3/dist-packages/jeepney jeepney
        rm -rf lib jeepney/io/tests jeepney/tests
        PYTHONHASHSEED=0 /usr/bin/python3 -I -m compileall -q -j 1 \
          --invalidation-mode unchecked-hash "$out/jeepney"
      '';
    };

    # What Debian 13 boots, and what its backports have.
    linux_6_12 = kernel { pname = "linux"; suite = "trixie"; image = "linux-image-.*-cloud-amd64"; };
    linux_latest = kernel {
      pname = "linux-latest";
      suite = "trixie-backports";
      image = "linux-binary-.*-cloud-amd64";
      others = [ "linux-modules-.*-cloud-amd64" "linux-base-.*-cloud-amd64" ];
    };
    linuxPackages = { kernel = linux_6_12; };
    linuxPackages_6_12 = linuxPackages;
    linuxPackages_latest = { kernel = linux_latest; };

    # The guest's own programs, compiled once.
    nixguest = python "nixguest" ./build-support/nixguest.py { source = ../python/nixguest; };

    # A package of many small files, for inode and GC figures; made in the guest.
    smallFiles = { count ? 20000, seed ? "0" }:
      python "small-files-${toString count}-${seed}" ./build-support/small_files.py
        { inherit count seed; };
    small-files = smallFiles { };

    lab = { revision ? 1 }: python "lab-${toString revision}" ./build-support/lab.py {
      inherit revision nixguest;
      python3 = "${python3}";
    };

    writeText = name: text: python name ./build-support/write_text.py { inherit text; };
    # A script that systemd can run: its path does not change with other units'.
    writeShellScript = name: text: python name ./build-support/write_text.py {
      text = "#!${bash}/bin/bash\n${text}";
      executable = true;
    };
    writeShellScriptBin = name: text: python name ./build-support/write_text.py {
      text = "#!${bash}/bin/bash\n${text}";
      executable = true;
      destination = "bin/${name}";
    };

    # What nixpkgs' buildEnv is made with, without its Perl: Nix' own builder.
    symlinkJoin = { name, paths }: derivation {
      inherit name;
      system = "builtin";
      builder = "builtin:buildenv";
      manifest = builtins.toFile "no-manifest" "";
      derivations = concatMap (p: [ "true" "5" "1" p ]) paths;
    };
    buildEnv = symlinkJoin;
  };
in
pkgs
