"""Jobs: entered, claimed, finished, recovered; one transaction each."""
