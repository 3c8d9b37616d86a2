"""What shows that maps of a model are exact: poisoned images and measured differences."""
