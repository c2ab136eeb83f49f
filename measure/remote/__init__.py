"""Devices other than this machine: another machine by SSH, many by Dask, phones by adb."""
