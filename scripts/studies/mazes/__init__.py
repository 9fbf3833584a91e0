"""The room of `scripts.studies.maze`: the maze, its players, the policy and how it learns."""
