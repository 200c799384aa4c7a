"""What is forgotten, and when: jobs, the artefacts that nobody refers to, and their bytes."""
