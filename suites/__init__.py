"""What must hold, one folder per subject of the plan."""
