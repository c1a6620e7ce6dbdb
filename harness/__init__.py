"""Boot throwaway VMs from a spec and prove that a migration keeps its promises."""
