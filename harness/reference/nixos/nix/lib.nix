# The part of nixpkgs' lib that a host's configuration uses, and a module system.
#
# Semantics follow the NixOS manual, "Writing NixOS Modules" (option declarations,
# definitions, types) and nixpkgs' lib/modules.nix: definitions of one option are merged
# by its type; mkOverride priorities: 50 mkForce, 100 plain, 1000 mkDefault, 1500 default.
let
  inherit (builtins)
    all any attrNames attrValues concatLists concatMap concatStringsSep elem filter
    foldl' functionArgs getAttr hasAttr head isAttrs isBool isFunction isInt isList
    isPath isString length listToAttrs mapAttrs match sort substring stringLength
    tail typeOf;

  lib = rec {
    inherit (builtins)
      all any attrNames attrValues concatLists concatMap concatStringsSep elem
      elemAt filter foldl' fromJSON getAttr hasAttr head isAttrs isBool isFunction isInt
      isList isString length listToAttrs mapAttrs match readFile replaceStrings seq sort
      stringLength substring tail toJSON;

    # lists, attribute sets, strings
    optional = yes: value: if yes then [ value ] else [ ];
    optionals = yes: values: if yes then values else [ ];
    optionalAttrs = yes: attrs: if yes then attrs else { };
    optionalString = yes: text: if yes then text else "";
    nameValuePair = name: value: { inherit name value; };
    mapAttrsToList = f: attrs: map (n: f n attrs.${n}) (attrNames attrs);
    mapAttrs' = f: attrs: listToAttrs (mapAttrsToList f attrs);
    filterAttrs = keep: attrs:
      listToAttrs (concatMap
        (n: optional (keep n attrs.${n}) (nameValuePair n attrs.${n}))
        (attrNames attrs));
    genAttrs = names: f: listToAttrs (map (n: nameValuePair n (f n)) names);
    concatMapStringsSep = sep: f: values: concatStringsSep sep (map f values);
    concatMapStrings = concatMapStringsSep "";
    unique = foldl' (seen: v: if elem v seen then seen else seen ++ [ v ]) [ ];
    flatten = v: if isList v then concatMap flatten v else [ v ];
    last = values: builtins.elemAt values (length values - 1);
    hasPrefix = prefix: text: substring 0 (stringLength prefix) text == prefix;
    hasSuffix = suffix: text:
      let n = stringLength text - stringLength suffix;
      in n >= 0 && substring n (-1) text == suffix;
    removeSuffix = suffix: text:
      if hasSuffix suffix text
      then substring 0 (stringLength text - stringLength suffix) text
      else text;
    escapeShellArg = v: "'${builtins.replaceStrings [ "'" ] [ "'\\''" ] (toString v)}'";
    getExe = p: "${p}/bin/${p.meta.mainProgram or p.pname or p.name}";
    makeBinPath = concatMapStringsSep ":" (p: "${p}/bin");
    recursiveUpdate = a: b:
      a // mapAttrs
        (n: v: if isAttrs v && isAttrs (a.${n} or null) then recursiveUpdate a.${n} v else v)
        b;
    attrByPath = path: default: attrs:
      if path == [ ] then attrs
      else if isAttrs attrs && attrs ? ${head path}
      then attrByPath (tail path) default attrs.${head path}
      else default;

    # properties of definitions
    mkIf = condition: content: { _type = "if"; inherit condition content; };
    mkMerge = contents: { _type = "merge"; inherit contents; };
    mkOverride = priority: content: { _type = "override"; inherit priority content; };
    mkForce = mkOverride 50;
    mkDefault = mkOverride 1000;
    mkOptionDefault = mkOverride 1500;
    mkOrder = order: content: { _type = "order"; inherit order content; };
    mkBefore = mkOrder 500;
    mkAfter = mkOrder 1500;

    # declarations
    mkOption = { type ? types.anything, ... }@args: args // { _type = "option"; inherit type; };
    mkEnableOption = name: mkOption {
      type = types.bool;
      default = false;
      description = "Whether to enable ${name}.";
    };

    inherit types evalModules;
  };

  isProperty = kind: v: isAttrs v && (v._type or null) == kind;
  isOption = isProperty "option";
  showLoc = concatStringsSep ".";
  showValue = v:
    if isAttrs v && v ? drvPath then "<derivation ${v.name}>"
    else if isFunction v then "<function>"
    else builtins.toJSON v;
  showDefs = defs:
    concatStringsSep "\n" (map (d: "- In `${d.file}': ${showValue d.value}") defs);

  # Move mkIf, mkMerge and mkOverride from around an attribute set to its values, so that
  # the names are known without knowing the conditions (lib/modules.nix pushDownProperties).
  pushDown = v:
    if isProperty "merge" v then concatMap pushDown v.contents
    else if isProperty "if" v
    then map (mapAttrs (_: lib.mkIf v.condition)) (pushDown v.content)
    else if isProperty "override" v
    then map (mapAttrs (_: lib.mkOverride v.priority)) (pushDown v.content)
    else if isProperty "order" v then pushDown v.content
    else [ v ];

  # One definition with properties to plain ones with a priority and an order.
  discharge = file: v:
    if isProperty "merge" v then concatMap (discharge file) v.contents
    else if isProperty "if" v
    then if v.condition then discharge file v.content else [ ]
    else if isProperty "override" v
    then map (d: d // { inherit (v) priority; }) (discharge file v.content)
    else if isProperty "order" v
    then map (d: d // { inherit (v) order; }) (discharge file v.content)
    else [{ inherit file; priority = 100; order = 1000; value = v; }];

  winning = defs:
    let
      plain = concatMap (d: discharge d.file d.value) defs;
      best = foldl' (b: d: if d.priority < b then d.priority else b) 9999 plain;
      kept = filter (d: d.priority == best) plain;
    in
    if any (d: d.order != 1000) kept then sort (a: b: a.order < b.order) kept else kept;

  # Merge definitions by type; `defined` is false where every mkIf said no.
  mergeDefs = loc: type: defs:
    let won = winning defs; in {
      defined = won != [ ];
      value =
        if won != [ ] then type.merge loc won
        else if type ? emptyValue then type.emptyValue
        else throw "The option `${showLoc loc}' is used but not defined.";
    };

  mergeEqual = loc: defs:
    let first = (head defs).value; in
    if all (d: d.value == first) (tail defs) then first
    else throw "The option `${showLoc loc}' has conflicting definition values:\n${showDefs defs}\nUse `lib.mkForce value' or `lib.mkDefault value' to change the priority on any of these definitions.";

  mkType = name: check: merge: {
    inherit name;
    merge = loc: defs:
      let wrong = filter (d: !check d.value) defs; in
      if wrong == [ ] then merge loc defs
      else throw "A definition for option `${showLoc loc}' is not of type `${name}'. Definition values:\n${showDefs wrong}";
    inherit check;
  };

  isPackage = v: isAttrs v && v ? outPath;
  isStringLike = v: isString v || isPath v || isPackage v;

  types = rec {
    anything = mkType "anything" (_: true) (loc: defs:
      if all (d: isAttrs d.value && !isPackage d.value) defs
      then (attrsOf anything).merge loc defs
      else if all (d: isList d.value) defs then concatMap (d: d.value) defs
      else mergeEqual loc defs);
    raw = mkType "raw value" (_: true) (_: defs: (lib.last defs).value);
    bool = mkType "boolean" isBool mergeEqual;
    int = mkType "signed integer" isInt mergeEqual;
    port = mkType "16 bit unsigned integer" (v: isInt v && v >= 0 && v < 65536) mergeEqual;
    str = mkType "string" isString mergeEqual;
    path = mkType "path" isStringLike mergeEqual;
    package = mkType "package" isPackage mergeEqual;
    lines = mkType "strings concatenated with \"\\n\"" isString
      (_: defs: concatStringsSep "\n" (map (d: d.value) defs));
    enum = values: mkType "one of ${builtins.toJSON values}" (v: elem v values) mergeEqual;
    scalar = mkType "boolean, integer, string, path or package"
      (v: isBool v || isInt v || isStringLike v || v == null)
      mergeEqual;
    # Values of unit file keys: lists concatenate, a list swallows scalars of other definitions
    # (nixos/lib/systemd-unit-options.nix unitOption).
    unitValue = mkType "systemd option"
      (v: isBool v || isInt v || isStringLike v || isList v)
      (loc: defs:
        if any (d: isList d.value) defs
        then concatMap (d: if isList d.value then d.value else [ d.value ]) defs
        else mergeEqual loc defs);
    nullOr = t: mkType "null or ${t.name}" (v: v == null || t.check v) (loc: defs:
      if all (d: d.value == null) defs then null
      else if any (d: d.value == null) defs then mergeEqual loc defs
      else t.merge loc defs);
    either = a: b: mkType "${a.name} or ${b.name}" (v: a.check v || b.check v) (loc: defs:
      if all (d: a.check d.value) defs then a.merge loc defs
      else if all (d: b.check d.value) defs then b.merge loc defs
      else mergeEqual loc defs);
    listOf = t: mkType "list of ${t.name}" isList
      (loc: defs: concatMap
        (d: map (v: (mergeDefs (loc ++ [ "*" ]) t [{ inherit (d) file; value = v; }]).value)
          d.value)
        defs)
    // { emptyValue = [ ]; };
    attrsOf = t: mkType "attribute set of ${t.name}" isAttrs
      (loc: defs:
        let
          pushed = concatMap
            (d: map (v: { inherit (d) file; value = v; }) (pushDown d.value))
            defs;
          names = attrNames (foldl' (all: d: all // d.value) { } pushed);
          merged = lib.genAttrs names (n:
            mergeDefs (loc ++ [ n ]) t (concatMap
              (d: lib.optional (d.value ? ${n}) { inherit (d) file; value = d.value.${n}; })
              pushed));
        in
        mapAttrs (_: m: m.value) (lib.filterAttrs (_: m: m.defined) merged))
    // { emptyValue = { }; };
    submodule = tree: mkType "submodule" isAttrs (loc: defs:
      checked loc (mergeTree loc [ (if isFunction tree then tree (lib.last loc) else tree) ] defs));
  };

  checked = loc: merged:
    if merged.unknown == [ ] then merged.value
    else throw (concatStringsSep "\n" (map
      (u: "The option `${showLoc u.loc}' does not exist. Definition values:\n- In `${u.file}'")
      merged.unknown));

  # Walk option trees and definitions side by side.
  mergeTree = loc: trees: defs:
    let
      pushed = concatMap
        (d: map (v: { inherit (d) file; value = v; }) (pushDown d.value))
        defs;
      declared = attrNames (foldl' (all: t: all // t) { } trees);
      under = n: concatMap
        (d: lib.optional (d.value ? ${n}) { inherit (d) file; value = d.value.${n}; })
        pushed;
      one = n:
        let
          here = loc ++ [ n ];
          subtrees = concatMap (t: lib.optional (t ? ${n}) t.${n}) trees;
          options = filter isOption subtrees;
          option = head options;
          fallback = lib.optional (option ? default)
            { file = "default"; value = lib.mkOptionDefault option.default; };
          merged = (mergeDefs here option.type (under n ++ fallback)).value;
        in
        if options == [ ] then mergeTree here subtrees (under n)
        else if length subtrees > 1
        then throw "The option `${showLoc here}' is declared more than once."
        else { value = (option.apply or (v: v)) merged; unknown = [ ]; };
      parts = lib.genAttrs declared one;
    in
    {
      value = mapAttrs (_: p: p.value) parts;
      unknown =
        concatMap
          (d: map (n: { loc = loc ++ [ n ]; inherit (d) file; })
            (filter (n: !elem n declared) (attrNames d.value)))
          pushed
        ++ concatMap (p: p.unknown) (attrValues parts);
    };

  # Modules: paths, functions or attribute sets, with `imports`; long form `options` and
  # `config`, or short form (all of it is config).
  evalModules = { modules, specialArgs ? { } }:
    let
      args = { inherit lib; config = merged.value; } // specialArgs;
      load = parent: m:
        if isPath m || isString m then
          let file = toString m;
          in [ (normal file (apply (import m)) // { key = file; }) ]
        else [ (normal parent (apply m) // { key = null; }) ];
      apply = m: if isFunction m then m args else m;
      normal = file: m:
        let
          rest = removeAttrs m [ "imports" "options" "config" "_file" "key" "meta" ];
          long = m ? options || m ? config;
        in
        if long && rest != { }
        then throw "Module `${file}' has an unsupported attribute `${head (attrNames rest)}'. Move it into its `config' attribute."
        else {
          file = m._file or file;
          imports = m.imports or [ ];
          options = m.options or { };
          config = if long then m.config or { } else rest;
        };
      # A file that is imported twice counts once.
      closure = seen: todo:
        if todo == [ ] then [ ]
        else
          let m = head todo; in
          if m.key != null && elem m.key seen then closure seen (tail todo)
          else [ m ] ++ closure
            (seen ++ lib.optional (m.key != null) m.key)
            (concatMap (load m.file) m.imports ++ tail todo);
      loaded = closure [ ] (concatMap (load "<configuration>") modules);
      merged = mergeTree [ ] (map (m: m.options) loaded)
        (map (m: { inherit (m) file; value = m.config; }) loaded);
    in
    { config = checked [ ] merged; };
in
lib
