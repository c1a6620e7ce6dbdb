"""Deployments that are made of many files."""

# A package must weigh more than what a healthy cycle may leave behind.
FILES = 1500


def deployment(cycle: int) -> str:
    """Return a module with a package of many files that only this cycle has."""
    return f"""{{ pkgs, lib, ... }}: let
  churn = if pkgs ? smallFiles
    then pkgs.smallFiles {{ count = {FILES}; seed = "{cycle}"; }}
    else pkgs.runCommand "churn-{cycle}" {{ }} ''
      mkdir $out
      for i in $(seq {FILES}); do echo {cycle}/$i > $out/$i; done
    '';
in {{
  environment.etc."acceptance/churn".source = churn;
}}"""
